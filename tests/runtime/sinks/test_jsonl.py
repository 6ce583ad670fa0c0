from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from gasmcast.errors import MachineError
from gasmcast.runtime.sinks.jsonl import JsonlSink


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_record_is_a_line_and_a_second_run_appends(tmp_path, make):
    path = tmp_path / "deep" / "out.jsonl"
    for _ in range(2):
        sink = JsonlSink(path)
        sink.write(make.decision())
        sink.write(make.event())
        sink.write(make.stats())
        sink.close()
    assert [line["kind"] for line in lines(path)] == ["decision", "event", "stats"] * 2
    assert lines(path)[0]["ts"].endswith("Z")


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path, make):
    sink = JsonlSink(tmp_path / "a.jsonl")
    sink.write(make.event())
    assert len(lines(tmp_path / "a.jsonl")) == 1
    sink.close()


def test_it_rotates_by_size_and_keeps_some(tmp_path, make):
    path = tmp_path / "a.jsonl"
    sink = JsonlSink(path, max_bytes=2000, keep=2)
    for number in range(60):
        sink.write(make.event("end", number))
    sink.close()
    files = sorted(p.name for p in tmp_path.iterdir())
    assert files == ["a.jsonl", "a.jsonl.1", "a.jsonl.2"]
    numbers = [
        line["number"]
        for name in ("a.jsonl.2", "a.jsonl.1", "a.jsonl")
        for line in lines(tmp_path / name)
    ]
    assert numbers == list(range(numbers[0], 60))
    assert all(p.stat().st_size <= 2000 for p in tmp_path.iterdir())


def test_a_line_that_a_crash_cut_off_does_not_spoil_the_next(tmp_path, make):
    path = tmp_path / "a.jsonl"
    path.write_text('{"kind": "dec')
    sink = JsonlSink(path)
    sink.write(make.event())
    sink.close()
    cut, whole = path.read_text().splitlines()
    assert cut == '{"kind": "dec'
    assert json.loads(whole)["kind"] == "event"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_one_sentence(make):
    sink = JsonlSink(Path("/dev/full"))
    with pytest.raises(MachineError, match="No space left"):
        sink.write(make.event())
    sink.close()


def test_a_file_that_may_not_grow_holds_whole_lines_only(tmp_path):
    """RLIMIT_FSIZE in another process: what the limit cuts off is removed; with room it goes on."""
    script = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        from gasmcast.errors import MachineError
        from gasmcast.runtime.records import Notice
        from gasmcast.runtime.sinks.jsonl import JsonlSink
        path = Path(sys.argv[1])
        sink = JsonlSink(path)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        failed = 0
        for number in range(20):
            try:
                sink.write(Notice("cam", float(number), 0.0, "state", "x" * 100))
            except MachineError:
                failed += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        sink.write(Notice("cam", 99.0, 0.0, "state", "again"))
        sink.close()
        print(failed)
    """)
    path = tmp_path / "a.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(done.stdout) > 10
    assert [line["time_s"] for line in lines(path)][-2:] == [20 - 1 - int(done.stdout), 99.0]


def test_a_path_that_cannot_be_written_is_told_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot be written"):
        JsonlSink(tmp_path / "file" / "a.jsonl")


def test_dash_is_standard_output(make, capsys):
    sink = JsonlSink(Path("-"))
    sink.write(make.event())
    sink.close()
    assert json.loads(capsys.readouterr().out)["kind"] == "event"
    assert not os.path.exists("-")  # noqa: PTH110


def test_secrets_do_not_get_in(tmp_path, make):
    sink = JsonlSink(tmp_path / "a.jsonl")
    sink.write(make.notice("rtsp://admin:hunter2@h/x cannot be opened"))
    sink.write(
        make.decision(camera="a@b", label="rtsp://h")
    )  # in one word of JSON, and yet two texts
    sink.close()
    assert lines(tmp_path / "a.jsonl")[1]["camera"] == "a@b"
    assert "hunter2" not in (tmp_path / "a.jsonl").read_text()
    assert lines(tmp_path / "a.jsonl")[0]["text"] == "rtsp://***@h/x cannot be opened"


def test_a_pipe_takes_every_line(tmp_path, make):
    path, got = tmp_path / "fifo", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.extend(path.read_text().splitlines()), daemon=True)
    reader.start()
    sink = JsonlSink(path, max_bytes=10)
    for _ in range(3):
        sink.write(make.event())
    sink.close()
    reader.join(5)
    assert [json.loads(line)["kind"] for line in got] == ["event"] * 3
