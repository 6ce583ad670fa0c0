"""`gasmcast live` as a process: its end, its signals to others, and its recovery when stuck."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from gasmcast.runtime.service.health import Health
from gasmcast.runtime.service.systemd import SystemdNotifier
from gasmcast.runtime.service.watchdog import EXIT_STUCK, Watchdog

pytestmark = pytest.mark.slow


def lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def post(tmp_path):
    """Socket in place of systemd's, and its address."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        box.bind(address)
        box.settimeout(100)
        yield box, address


def test_sigterm_drains_ends_events_and_exits_0(start, post, tiny_bundle, tmp_path, until):
    post, address = post
    out = tmp_path / "out.jsonl"
    process = start(
        tiny_bundle,
        "demo:",
        "demo:2",
        "--jsonl",
        out,
        NOTIFY_SOCKET=address,
        WATCHDOG_USEC="2000000",
    )
    messages = [post.recv(4096).decode()]
    assert "READY=1" in messages[0]
    until(lambda: sum(line["kind"] == "decision" for line in lines(out)) >= 6)
    messages += [post.recv(4096).decode() for _ in range(2)]
    assert messages[1:] == ["WATCHDOG=1"] * 2
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    while "STOPPING=1" not in messages[-1]:
        messages.append(post.recv(4096).decode())
    events = [line for line in lines(out) if line["kind"] == "event"]
    for camera in ("demo", "demo-2"):
        phases = [e["phase"] for e in events if e["camera"] == camera and e["phase"] != "update"]
        assert phases == ["start", "end"] * (len(phases) // 2)


def test_sources_that_failed_do_not_spoil_the_status_of_an_ordered_end(
    start, tiny_bundle, tmp_path, until
):
    """An absent webcam next to other cameras is retried; a missing password is a final error."""
    out = tmp_path / "out.jsonl"
    bad = "/dev/video77", "rtsp://u:${NOT_SET_AT_ALL}@127.0.0.1:9/x"
    process = start(tiny_bundle, "demo:", *bad, "--jsonl", out, "--quiet")
    until(lambda: any(line["kind"] == "decision" for line in lines(out)))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "error: rtsp://***@127.0.0.1:9/x needs the environment variable NOT_SET_AT_ALL" in errors
    assert any(
        "video77 is reconnecting (Camera /dev/video77 cannot be read" in line.get("text", "")
        for line in lines(out)
    )


def test_sighup_reads_the_list_of_cameras_again(start, tiny_bundle, tmp_path, until):
    cameras, out = tmp_path / "cameras.yaml", tmp_path / "out.jsonl"

    def write(text):  # atomically, as an editor does
        (tmp_path / "new").write_text(f"cameras: [{text}]")
        (tmp_path / "new").replace(cameras)

    def records_of(camera, kind="decision"):
        return [line for line in lines(out) if line["kind"] == kind and line["camera"] == camera]

    write("{name: stays, source: 'demo:1'}, {name: goes, source: 'demo:2'}")
    process = start(tiny_bundle, f"@{cameras}", "--jsonl", out, "--quiet")
    until(lambda: records_of("stays") and records_of("goes"))
    write("{name: stays, source: 'demo:1'}, {name: comes, source: 'demo:3'}")
    process.send_signal(signal.SIGHUP)
    until(lambda: records_of("comes"))
    write("{name: stays, sorce: 'demo:1'}")
    process.send_signal(signal.SIGHUP)
    seen = len(records_of("comes"))
    until(lambda: len(records_of("comes")) > seen + 2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "1 removed, 1 added, 1 unchanged" in errors
    assert "the sources stay as they are" in errors
    assert "Did you mean 'source'?" in errors
    states = {
        camera: [line["text"] for line in records_of(camera, "notice") if line["what"] == "state"]
        for camera in ("stays", "goes")
    }
    assert states["goes"][-1] == "goes has ended."
    assert sum("is live" in text for text in states["stays"]) == 1, "what did not change runs on"


def test_sighup_before_it_is_ready_is_served_when_it_is(tiny_bundle, tmp_path):
    """A supervisor that reloads too early must not end the process that compiles its engines."""
    cameras = tmp_path / "cameras.yaml"
    cameras.write_text("cameras: [{name: stays, source: 'demo:1'}]")
    script = f"""
        import os, pathlib, signal
        from gasmcast.cli import main
        from gasmcast.runtime import streaming_model
        opened = streaming_model.open_model

        def open_model(*args, **settings):
            path = pathlib.Path({str(cameras)!r})
            path.write_text("cameras: [{{name: comes, source: 'demo:2'}}]")
            os.kill(os.getpid(), signal.SIGHUP)
            return opened(*args, **settings)

        streaming_model.open_model = open_model
        main()
        """
    words = f"@{cameras}", "--bundle", tiny_bundle, "--threads", "1", "--duration", "4"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), "live", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "1 removed, 1 added, 0 unchanged" in done.stderr


def test_a_process_that_was_stopped_for_long_goes_on(start, tiny_bundle, tmp_path, until):
    """Ctrl-Z and `fg`, SIGSTOP, or a frozen container."""
    out = tmp_path / "out.jsonl"
    process = start(tiny_bundle, "demo:", "--jsonl", out)

    def decisions():
        return sum(line["kind"] == "decision" for line in lines(out))

    until(decisions)
    process.send_signal(signal.SIGSTOP)
    time.sleep(14.0)
    process.send_signal(signal.SIGCONT)
    before = decisions()
    time.sleep(6.0)
    until(lambda: decisions() > before + 2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "was stopped for about" in errors
    phases = [e["phase"] for e in lines(out) if e["kind"] == "event" and e["phase"] != "update"]
    assert phases == ["start", "end"] * (len(phases) // 2)
    assert not [line for line in lines(out) if line.get("what") == "degrade"]


def test_a_terminal_that_closes_ends_what_ran_in_it(start, tiny_bundle, tmp_path, until):
    cameras, out = tmp_path / "cameras.yaml", tmp_path / "out.jsonl"
    cameras.write_text("cameras: [{name: stays, source: 'demo:1'}]")
    ours, theirs = os.openpty()
    before = signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # under nohup the tests and their children would ignore it
    try:
        process = start(tiny_bundle, f"@{cameras}", "--jsonl", out, "--quiet", stdin=theirs)
        until(lambda: any(line["kind"] == "decision" for line in lines(out)))
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGHUP
    finally:
        signal.signal(signal.SIGHUP, before)
        os.close(ours)
        os.close(theirs)


def test_a_sink_that_is_down_and_a_disk_that_refuses_a_film_spoil_nothing_else(
    start, tiny_bundle, tmp_path, until
):
    """A video that may not grow beyond 12 kB, as with a quota, and a webhook that is down."""
    resource = pytest.importorskip("resource")
    out, film = tmp_path / "out.jsonl", tmp_path / "film.mp4"
    outputs = [
        "--save",
        film,
        "--record",
        tmp_path / "run.jsonl",
        "--webhook",
        "http://127.0.0.1:9/x",
    ]
    process = start(tiny_bundle, "demo:", "--jsonl", out, *outputs, "--quiet")
    until(lambda: sum(line["kind"] == "decision" for line in lines(out)) >= 4)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (12_000, 12_000))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "film.mp4 is not whole" in errors
    assert "Failed to write frame" not in errors
    assert "sink webhook: The webhook 127.0.0.1:9 does not take events" in errors
    assert not film.exists()
    phases = [
        line["phase"]
        for line in lines(out)
        if line["kind"] == "event" and line["phase"] != "update"
    ]
    assert phases == ["start", "end"] * (len(phases) // 2)
    assert phases


def test_sigterm_while_a_camera_is_silent(start, tiny_bundle, tmp_path, until):
    """The server accepts connections and sends nothing, while native code waits for it."""
    out = tmp_path / "out.jsonl"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(
            tiny_bundle,
            f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x",
            "demo:",
            "--jsonl",
            out,
            "--quiet",
        )
        until(lambda: any(line["kind"] == "decision" for line in lines(out)))
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert time.monotonic() - begun < 15.0
    assert "Traceback" not in errors
    phases = [
        line["phase"]
        for line in lines(out)
        if line["kind"] == "event" and line["phase"] != "update"
    ]
    assert phases == ["start", "end"] * (len(phases) // 2)


def test_a_camera_that_hangs_and_comes_back_while_the_process_ends_does_not_abort_it(tiny_bundle):
    """OpenCV waits for a silent camera; the process is kept at its very end until that hangs up."""
    held = """
        import ctypes, sys
        from gasmcast.cli import main
        from gasmcast.runtime.sources import network as stream
        stream.TIMEOUT_S = 100.0
        libc = ctypes.CDLL(None)
        libc.__cxa_atexit(libc.getchar, None, None)  # its last action is to wait
        main()
        """
    words = "demo:", "--bundle", tiny_bundle, "--threads", "1", "--duration", "3"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(held),
            "live",
            f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x",
            *words,
        ]
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            for line in process.stderr:
                if "decisions from 2 sources" in line:
                    break
            time.sleep(2.0)  # it has reached its end
            silent.close()
            time.sleep(0.5)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, errors) == (0, "")


def test_no_secret_can_be_seen_from_outside(start, tiny_bundle, tmp_path, until):
    out = tmp_path / "out.jsonl"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = "rtsp://viewer:${CAM1_PASS}@127.0.0.1:9/x?token=${TOKEN}"
    secrets = {"CAM1_PASS": "hunt/er@2", "TOKEN": "t0k3n"}
    process = start(
        tiny_bundle, source, "demo:", "--jsonl", out, "--metrics", f"127.0.0.1:{port}", **secrets
    )
    until(lambda: any(line["kind"] == "decision" for line in lines(out)))
    pages = []
    for path in ("/metrics", "/health"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        pages.append(connection.getresponse().read().decode())
        connection.close()
    pages.append(Path(f"/proc/{process.pid}/cmdline").read_bytes().decode())
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)
    assert process.returncode == 0
    seen = "".join([*pages, *output, out.read_text()])
    for secret in ("hunt", "er%402", "t0k3n"):
        assert secret not in seen
    assert "nothing answers at 127.0.0.1:9" in seen


@pytest.mark.parametrize(
    ("source", "leaves"),
    [
        ("concat:/etc/passwd", (2, "not allowed")),
        ("pipe:0", (2, "not allowed")),
        ("none.mp4", (5, "no file")),
        ("@none.yaml", (2, "cannot be read")),
        ("7", (5, "/dev/video7")),
        ("rtsp://u:${NOT_SET_AT_ALL}@127.0.0.1:9/x", (2, "NOT_SET_AT_ALL")),
    ],
)
def test_bad_sources_are_one_sentence_and_their_code(
    tiny_bundle, monkeypatch, capsys, source, leaves
):
    from gasmcast.cli import main

    monkeypatch.setattr(
        sys, "argv", ["gasmcast", "live", source, "--bundle", str(tiny_bundle), "--threads", "1"]
    )
    with pytest.raises(SystemExit) as end:
        main()
    errors = capsys.readouterr().err
    assert end.value.code == leaves[0]
    assert leaves[1] in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("words", [("rtsp://127.0.0.1:9/x",), ("rtsp://127.0.0.1:9/x",) * 2])
def test_sources_that_never_opened_are_an_error_when_the_time_is_up(
    tiny_bundle, monkeypatch, capsys, words
):
    from gasmcast.cli import main

    flags = "--bundle", str(tiny_bundle), "--threads", "1", "--duration", "2"
    monkeypatch.setattr(sys, "argv", ["gasmcast", "live", *words, *flags])
    with pytest.raises(SystemExit) as end:
        main()
    errors = capsys.readouterr().err
    assert end.value.code == 5
    assert errors.count("never delivered a picture") == len(words)
    assert "nothing answers at 127.0.0.1:9" in errors


def test_a_stage_that_hangs_is_restarted_and_then_the_process_leaves_with_75(tiny_bundle, tmp_path):
    """An engine hangs forever in native code; the test cuts the watchdog's patience to 0.5 s."""
    script = tmp_path / "stuck.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from gasmcast.runtime.live_settings import LiveConfig
        from gasmcast.runtime.service.health import Health
        from gasmcast.runtime.session import Session
        from gasmcast.runtime.sources.demo import DemoSource
        from gasmcast.runtime.streaming_model import open_model

        model, _ = open_model(Path(sys.argv[1]), "onnxruntime", threads=1)
        class Hangs:
            inputs, outputs = model.encoder.inputs, model.encoder.outputs
            def run(self, feeds): time.sleep(1000)
            def describe(self): return "hangs"
        import dataclasses

        def reopen():
            print("reopened", flush=True)
            return stuck

        stuck = dataclasses.replace(model, encoder=Hangs(), reopen=reopen)
        session = Session(stuck, LiveConfig(), [], health=Health(0.5))
        session.add(DemoSource("demo"))
        session.run()
        """)
    )
    done = subprocess.run(
        [sys.executable, script, tiny_bundle],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == EXIT_STUCK, done.stderr
    assert done.stdout.count("reopened") == 1
    assert "encode makes no progress" in done.stderr


class Post:
    watchdog_s = None

    def __init__(self):
        self.sent = []

    def send(self, *words):
        self.sent.append(words)
        return True


def at_once(work, name):
    work()


def test_the_watchdog_restarts_a_late_stage_once_and_then_leaves():
    now, beat, left, restarted, post = [0.0], [0.0], [], [], Post()
    health = Health(10.0, clock=lambda: now[0])
    health.watch("encode", lambda: beat[0])
    dog = Watchdog(
        health,
        {"encode": lambda: restarted.append(now[0])},
        notifier=post,
        leave=left.append,
        clock=lambda: now[0],
        spawn=at_once,
    )
    for second in range(60):
        now[0] = float(second)
        dog.tick()
        if left:
            break
    assert (restarted, left, second) == ([11.0], [EXIT_STUCK], 22)
    assert post.sent.count(("WATCHDOG=1",)) == 11


def test_a_restart_that_helps_and_a_stage_without_one():
    now, beat, left, post = [0.0], [0.0], [], Post()
    health = Health(10.0, clock=lambda: now[0])
    health.watch("encode", lambda: beat[0])
    dog = Watchdog(
        health,
        {"encode": lambda: beat.__setitem__(0, now[0])},
        notifier=post,
        leave=left.append,
        clock=lambda: now[0],
        spawn=at_once,
    )
    for second in (5, 11, 12, 20):
        now[0] = float(second)
        dog.tick()
    assert left == []
    beat[0] = 1e9
    health.watch("head", lambda: 20.0)
    now[0] = 31.0
    dog.tick()
    assert left == [EXIT_STUCK]


def test_a_restart_that_fails_does_not_kill_the_watchdog(caplog):
    now, left = [0.0], []
    health = Health(10.0, clock=lambda: now[0])
    health.watch("encode", lambda: 0.0)
    dog = Watchdog(
        health,
        {"encode": lambda: 1 / 0},
        notifier=Post(),
        leave=left.append,
        clock=lambda: now[0],
        spawn=at_once,
    )
    now[0] = 11.0
    dog.tick()
    assert "cannot be restarted" in caplog.text
    now[0] = 22.0
    dog.tick()
    assert left == [EXIT_STUCK]


def test_life_is_told_while_engines_are_compiled_again_but_not_for_ever():
    now, beat, left, work, post = [0.0], [0.0], [], [], Post()
    health = Health(10.0, clock=lambda: now[0])
    health.watch("encode", lambda: beat[0])
    later = {
        "leave": left.append,
        "clock": lambda: now[0],
        "spawn": lambda task, name: work.append(task),
    }
    dog = Watchdog(health, {"encode": lambda: None}, notifier=post, **later)

    def tick(*seconds):
        for second in seconds:
            now[0] = float(second)
            dog.tick()

    tick(5, 11)
    post.sent.clear()
    tick(*range(12, 51))
    assert (len(work), post.sent) == (1, [("WATCHDOG=1",)] * 39)
    work.pop()()  # compiled after 39 s: its patience starts now
    tick(*range(51, 61))
    assert (left, len(work), len(post.sent)) == ([], 0, 39)
    tick(61)
    assert left == [EXIT_STUCK]  # stuck again
    left.clear()
    dog = Watchdog(health, {"encode": lambda: None}, notifier=post, **later)
    tick(*range(100, 221))
    assert (left, len(work)) == ([], 1)
    tick(221)
    assert left == [EXIT_STUCK]


def test_word_to_systemd(post, tmp_path):
    assert not SystemdNotifier({}).send("READY=1")
    assert not SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).send("READY=1")
    post, address = post
    notifier = SystemdNotifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
    assert notifier.send("READY=1", "STATUS=x")
    assert post.recv(100) == b"READY=1\nSTATUS=x"
    assert notifier.watchdog_s == 30.0
    assert SystemdNotifier({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watchdog_s is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hidden:
        hidden.bind("\0gasmcast-test")
        assert SystemdNotifier({"NOTIFY_SOCKET": "@gasmcast-test"}).send("WATCHDOG=1")
        assert hidden.recv(100) == b"WATCHDOG=1"


def test_the_unit_is_one_that_systemd_takes():
    import shutil

    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    unit = Path(__file__).parents[3] / "deploy" / "gasmcast.service"
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [
        line
        for line in done.stderr.splitlines()
        if "gasmcast.service" in line and "is not executable" not in line
    ]
    assert complaints == []


@pytest.mark.parametrize(
    "case",
    [
        (["{}/a.mp4", "--save", "{}/./a.mp4"], "would be overwritten"),
        (["{}/a.mp4", "--jsonl", "{}/./a.mp4"], "would be overwritten"),
        (["{}/a.mp4", "--record", "{}/a.mp4"], "would be overwritten"),
        (["{}/out-a.mp4", "{}/a.mp4", "--save", "{}/out.mp4"], "out-a.mp4 is a source"),
        (["replay:{}/a.mp4", "--jsonl", "{}/a.mp4"], "would be overwritten"),
        (["demo:", "--jsonl", "{}/x", "--record", "{}/./x"], "where two outputs"),
        (["demo:", "--save", "{}/x.mkv", "--record", "{}/x.mkv"], "where two outputs"),
        (["replay", "{}/a.mp4", "--jsonl", "{}/a.mp4"], "would be overwritten"),
    ],
)
def test_no_output_replaces_a_source_or_another_output(
    tiny_bundle, tmp_path, monkeypatch, capsys, case
):
    from gasmcast.cli import main

    for name in ("a.mp4", "out-a.mp4"):
        (tmp_path / name).write_bytes(b"a video")
    words, says = case
    words = [word.format(tmp_path) for word in words]
    verb = words if words[0] == "replay" else ["live", *words, "--bundle", str(tiny_bundle)]
    monkeypatch.setattr(sys, "argv", ["gasmcast", *verb])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.mp4": b"a video",
        "out-a.mp4": b"a video",
    }


@pytest.mark.parametrize(("source", "repeats"), [("file", 1), ("demo:", 3)])
def test_what_a_segment_takes_is_measured_for_files_too(
    tiny_bundle, short_video, monkeypatch, source, repeats
):
    """The time after which a stage counts as hanging depends on it."""
    from gasmcast.cli import main
    from gasmcast.runtime import capacity, session

    seen = []

    class Seen(session.Session):
        def __init__(self, *args, capacity, health, **rest):
            super().__init__(*args, capacity=capacity, health=health, **rest)
            seen.append(health.patience_s)

        def run(self, *args, **rest):
            self.stop()
            return super().run(*args, **rest)

    def measure(model, repeats=3, **_):
        seen.append(repeats)
        return capacity.Capacity(3.0, 0.5)

    monkeypatch.setattr(session, "Session", Seen)
    monkeypatch.setattr(capacity, "measure", measure)
    words = [
        str(short_video) if source == "file" else source,
        "--bundle",
        str(tiny_bundle),
        "--engine",
        "onnxruntime",
        "--quiet",
    ]
    monkeypatch.setattr(sys, "argv", ["gasmcast", "live", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert seen == [repeats, 60.0]


def test_a_camera_run_ends_when_nobody_reads_its_records(tiny_bundle):
    """`gasmcast live ... --jsonl - | head -1` ran on for ever."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gasmcast", "live", "demo:", "-b", tiny_bundle, "--jsonl", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert json.loads(process.stdout.readline())["kind"]
        process.stdout.close()
        assert process.wait(60) == 0
        errors = process.stderr.read().decode()
        assert "Traceback" not in errors
        assert "Broken pipe" not in errors
        assert "did not write" not in errors
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


@pytest.mark.parametrize("option", ["--jsonl", "--record"])
def test_a_pipe_without_a_reader_is_told_and_not_waited_for(tiny_bundle, tmp_path, option):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    done = subprocess.run(
        [sys.executable, "-m", "gasmcast", "live", "demo:", "-b", tiny_bundle, option, path],
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 3
    assert b"is a named pipe that nobody reads" in done.stderr
