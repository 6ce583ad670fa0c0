"""Soak tests with random faults from a seed: nothing may grow, die or get lost.

The first runs four cameras in this process, the second the command with a real engine. They take
60 s and 40 s in `make test`; `make soak` runs 10 minutes and 7 (GASMCAST_SOAK_S).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import http.client
import http.server
import json
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast.errors import MachineError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.recording.replay_decisions import replay
from gasmcast.runtime.records import Event
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.sinks.queue import QueuedSink
from gasmcast.runtime.sources.demo import DemoSource
from gasmcast.runtime.sources.open_sources import open_sources


def open_source(text, **settings):
    ((_, source),) = open_sources([text], **settings)
    return source


SECONDS = float(os.environ.get("GASMCAST_SOAK_S", "60"))
SEED = int(os.environ.get("GASMCAST_SOAK_SEED", "7"))
COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def color_now():
    return COLORS[int(time.monotonic()) % 3]


class Hanging:
    """Camera whose native code hangs for `hang_s`, once."""

    live, reconnects, name = True, True, "hanging"

    def __init__(self):
        self.hang_s = 0.0

    def frames(self):
        while True:
            pause, self.hang_s = self.hang_s or 0.05, 0.0
            time.sleep(pause)
            yield Frame(None, time.monotonic(), np.full((48, 64, 3), color_now(), np.uint8))


class Mjpeg:
    """HTTP camera; `pause_s` pauses it, `drop` ends every connection, `size` is for new ones."""

    def __init__(self):
        self.pause_s, self.drop, self.size = 0.0, 0, (64, 48)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=edge")
                self.end_headers()
                generation, (width, height) = outer.drop, outer.size
                with contextlib.suppress(OSError):
                    while outer.drop == generation:
                        pause, outer.pause_s = outer.pause_s or 0.05, 0.0
                        time.sleep(pause)
                        data = cv2.imencode(
                            ".jpg", np.full((height, width, 3), color_now()[::-1], np.uint8)
                        )[1].tobytes()
                        head = (
                            "--edge\r\nContent-Type: image/jpeg\r\n"
                            f"Content-Length: {len(data)}\r\n\r\n"
                        ).encode()
                        self.wfile.write(head + data + b"\r\n")

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.drop += 1
        self.server.shutdown()
        self.server.server_close()


class Receiver:
    """Sink that is sometimes down, slow or broken, and keeps what arrived."""

    got: list[Event] = []  # noqa: RUF012 - shared by all restarts of the sink
    mood = "well"

    def write(self, record):
        if Receiver.mood == "down":
            raise MachineError("the receiver is down")
        if Receiver.mood == "broken":
            raise ZeroDivisionError("the receiver has a bug")
        if Receiver.mood == "slow":
            time.sleep(0.1)
        if isinstance(record, Event) and record.phase != "update":
            Receiver.got.append(record)

    def close(self):
        pass


def usage():
    """Return `(resident MB, threads, open files)` of this process."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory that the allocator only keeps is no growth
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


class Faults:
    """Faults of the cameras and the sink; each method is one fault that ends before it returns."""

    def __init__(self, live_run, *, mjpeg, hanging, way, servers):
        self.dice = random.Random(SEED)
        self.live_run, self.mjpeg, self.hanging, self.way, self.servers = (
            live_run,
            mjpeg,
            hanging,
            way,
            servers,
        )

    def garbage_bytes(self):
        self.way.garble = 0.2
        time.sleep(1.0)
        self.way.garble = 0.0

    def network_stall(self):
        self.way.still.set()
        time.sleep(self.dice.uniform(0.5, 4.0))
        self.way.still.clear()

    def connection_cut(self):
        self.way.cut()

    def slow_camera(self):
        self.mjpeg.pause_s = self.dice.uniform(1.0, 4.0)

    def stream_ends_and_size_changes(self):
        self.mjpeg.size = self.dice.choice([(64, 48), (96, 72)])
        self.mjpeg.drop += 1

    def server_killed(self):
        for server in self.servers:
            server.kill()
            time.sleep(self.dice.uniform(0.1, 1.0))
            server.start(
                "--size",
                self.dice.choice(["64x48", "128x96"]),
                "--fps",
                self.dice.choice(["10", "25"]),
            )

    def server_held(self):
        for server in self.servers:
            server.hold(True)
            time.sleep(self.dice.uniform(0.5, 4.0))
            server.hold(False)

    def native_hang(self):
        self.hanging.hang_s = self.dice.uniform(1.0, 12.0)

    def sink_down(self):
        self._mood("down", self.dice.uniform(0.5, 3.0))

    def sink_slow(self):
        self._mood("slow", self.dice.uniform(0.5, 3.0))

    def sink_broken(self):
        self._mood("broken", 0.3)

    def guest(self):
        self.live_run.session.add(DemoSource("guest", seed=9))
        time.sleep(self.dice.uniform(0.5, 2.0))
        assert self.live_run.session.remove("guest")

    def _mood(self, name, seconds):
        Receiver.mood = name
        time.sleep(seconds)
        Receiver.mood = "well"

    def one(self):
        """Cause one at random and return its name."""
        name = self.dice.choice(
            sorted(name for name in vars(Faults) if not name.startswith("_") and name != "one")
        )
        getattr(self, name)()
        time.sleep(self.dice.uniform(0.2, 1.5))
        return name


@pytest.fixture
def second_camera(request, network):
    """RTSP server behind a network, and its URL; no server and None without GStreamer."""
    try:
        server = request.getfixturevalue("rtsp")("--size", "64x48")
    except pytest.skip.Exception:
        return [], None
    return [server], f"rtsp://127.0.0.1:{network(server.port).port}/h264"


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_soak(second_camera, run, until, network):
    mjpeg, hanging = Mjpeg(), Hanging()
    way = network(mjpeg.port)
    servers, url = second_camera
    Receiver.got, Receiver.mood = [], "well"
    queued = QueuedSink("receiver", Receiver, room=64, backoff=Backoff(0.05, 0.5))
    urls = f"http://127.0.0.1:{way.port}/video", url or f"http://127.0.0.1:{mjpeg.port}/second"
    live_run = run(*map(open_source, urls), hanging, sinks=[queued], keep=False, hang_s=8.0)
    live_run.session.add(open_source("demo:3"))
    cameras = live_run.cameras.names()
    assert len(cameras) == 4
    faults = Faults(live_run, mjpeg=mjpeg, hanging=hanging, way=way, servers=servers)

    def well():
        live = all(live_run.camera(name).state.value == "live" for name in cameras)
        return live and live_run.camera("hanging").threads == 1

    def decides():
        until(well, 120, else_tell=live_run.states)
        for name in cameras:
            live_run.until_decides(name, more=2)

    decides()
    for fault in (faults.connection_cut, faults.native_hang, faults.guest):
        fault()  # one-time allocations come before the first measurement
    until(well, 120, else_tell=live_run.states)
    before, end, history = usage(), time.monotonic() + SECONDS, []
    while time.monotonic() < end:
        history.append(faults.one())
        assert live_run.failure is None
    decides()
    until(lambda: usage()[1] <= before[1] + 2 and usage()[2] <= before[2] + 4, 20, every=0.5)
    after = usage()
    live_run.stop()
    queued.close()
    live_run.check_laws()
    mjpeg.close()
    sent = sorted((e.camera, e.number, e.phase) for e in live_run.events() if e.phase != "update")
    counts = {name: vars(live_run.camera(name).counts) for name in cameras}
    print(
        f"{SECONDS:.0f} s, seed {SEED}: {len(history)} faults, {len(sent)} starts and ends, "
        f"{counts}"
    )
    print(f"MB, threads, files: {before} -> {after}")
    assert sorted((e.camera, e.number, e.phase) for e in Receiver.got) == sent, (
        "an event was lost on the way to the sink"
    )
    assert len(sent) > SECONDS / 2
    assert after[0] - before[0] < 40, f"memory grows: {before} -> {after} after {history}"
    assert "overflow" not in queued.stats()


class Process:
    """Process of `gasmcast live`, seen from outside."""

    def __init__(self, pid, port):
        self._proc, self._port = Path(f"/proc/{pid}"), port

    def usage(self):
        """Return `(resident MB, threads, open files)`."""
        lines = dict(
            line.split(":", 1) for line in (self._proc / "status").read_text().splitlines()
        )
        return (
            int(lines["VmRSS"].split()[0]) / 1000,
            int(lines["Threads"]),
            len(list((self._proc / "fd").iterdir())),
        )

    def metrics(self):
        """Return `/metrics` as `{"name{labels}": value}`; empty before it listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            page = connection.getresponse().read().decode()
        except OSError:
            return {}
        finally:
            connection.close()
        return {
            name: float(value)
            for name, value in (
                line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")
            )
        }

    def watch(self, until_s, times=40):
        """Sample the usage `times` times; return the medians of the first and the last third."""
        every_s, found = (until_s - time.monotonic()) / times, []
        for _ in range(times):
            self.metrics()
            time.sleep(every_s)
            found.append(self.usage())
        return [np.median(part, axis=0) for part in (found[: times // 3], found[-(times // 3) :])]

    def decided(self, camera):
        return self.metrics().get(f'gasmcast_decisions_total{{camera="{camera}"}}', 0)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Viewers(threading.Thread):
    """Browsers that open pictures and messages of the web view and go without a word."""

    def __init__(self, port, cameras):
        super().__init__(daemon=True)
        self._port, self._dice, self._ended = port, random.Random(SEED), threading.Event()
        self._paths = ["/messages", *(f"/cameras/{name}/stream" for name in cameras)]
        self.count, self.bytes = 0, 0

    def run(self):
        while not self._ended.is_set():
            paths = self._dice.sample(self._paths, 2)
            seconds = self._dice.uniform(0.5, 3.0)
            with contextlib.ExitStack() as opened:
                streams = [opened.enter_context(self._open(path)) for path in paths]
                until_s = time.monotonic() + seconds
                while time.monotonic() < until_s and not self._ended.is_set():
                    for stream in streams:
                        with contextlib.suppress(TimeoutError):
                            self.bytes += len(stream.recv(1 << 16))
            self.count += 1

    def end(self):
        self._ended.set()
        self.join(10)
        assert not self.is_alive()
        assert self.count > SECONDS / 10
        assert self.bytes > 1000 * self.count

    def _open(self, path):
        stream = socket.create_connection(("127.0.0.1", self._port), timeout=5)
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        stream.settimeout(0.2)
        return stream


def bounds(records, camera):
    """Return the starts and ends of a camera's events, in order."""
    return [
        r["phase"]
        for r in records
        if r["kind"] == "event" and r["camera"] == camera and r["phase"] != "update"
    ]


def write_clip(path, seconds):
    """Write tiny frames that change, 10 per second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for number in range(round(10 * seconds)):
        writer.write(np.full((48, 64, 3), COLORS[number // 20 % 3], np.uint8))
    writer.release()
    return path


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_soak_of_the_command(second_camera, start, tiny_bundle, *, port, tmp_path, until):
    """Run a network camera, a scene and a file at its own pace, while viewers come and go.

    In the first half the server is killed, and a guest camera comes and goes.
    """
    seconds, (servers, url) = SECONDS * 2 / 3, second_camera
    mjpeg = Mjpeg()
    url = url or f"http://127.0.0.1:{mjpeg.port}/video"
    clip, cameras = write_clip(tmp_path / "clip.mp4", 2 * seconds + 120), tmp_path / "cameras.yaml"
    out, recording = tmp_path / "out.jsonl", tmp_path / "run.jsonl"
    listed = [
        f"{{name: net, source: '{url}'}}",
        "{name: scene, source: 'demo:3'}",
        f"{{name: clip, source: '{clip}'}}",
    ]

    def write(*entries):
        (tmp_path / "new").write_text(f"cameras: [{', '.join(entries)}]")
        (tmp_path / "new").replace(cameras)

    write(*listed)
    web = free_port()
    words = [
        "--web",
        f"127.0.0.1:{web}",
        "--realtime",
        "--quiet",
        "--jsonl",
        out,
        "--record",
        recording,
        "--metrics",
        f"127.0.0.1:{port}",
    ]
    process = start(tiny_bundle, f"@{cameras}", *words)
    seen = Process(process.pid, port)

    def decide(*names, more=3):
        before = {name: seen.decided(name) for name in names}
        until(
            lambda: all(seen.decided(name) >= before[name] + more for name in names), 60, every=0.3
        )

    decide("net", "scene", "clip")
    viewers = Viewers(web, ("net", "scene", "clip"))
    viewers.start()
    begun = time.monotonic()
    for server in servers:
        server.kill()
        server.start("--size", "64x48")
    mjpeg.drop += 1
    write(*listed, "{name: guest, source: 'demo:9'}")
    process.send_signal(signal.SIGHUP)
    decide("guest")
    write(*listed)
    process.send_signal(signal.SIGHUP)
    decide("net", "scene", "clip")
    time.sleep(max(0.0, begun + seconds / 2 - time.monotonic()))
    before, after = seen.watch(begun + seconds)
    decide("net", "scene", "clip")
    states = seen.metrics()
    viewers.end()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    mjpeg.close()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert [
        states[f'gasmcast_camera_state{{camera="{name}",state="live"}}']
        for name in ("net", "scene", "clip")
    ] == [1, 1, 1]
    records = [json.loads(line) for line in out.read_text().splitlines()]
    events = [bounds(records, name) for name in ("net", "scene", "clip", "guest")]
    print(
        f"{seconds:.0f} s: {[len(one) for one in events]} starts and ends; "
        f"{viewers.count} viewers read {viewers.bytes / 1e6:.1f} MB; "
        f"MB, threads, files: {before} -> {after}"
    )
    assert after[0] - before[0] < 10, "memory grows"
    # A viewer has two connections, and each is served by up to one thread.
    assert max(after[1:] - before[1:]) <= 3, "threads or open files grow"
    assert all(one == ["start", "end"] * (len(one) // 2) for one in events)
    assert all(events[:3])
    assert replay(recording, lambda _: None), "the recording makes the same decisions again"
