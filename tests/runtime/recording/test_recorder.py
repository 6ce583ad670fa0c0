from __future__ import annotations

import errno
import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.errors import MachineError
from gasmcast.labels import Labels
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.recording.recorder import Recorder
from gasmcast.runtime.recording.replay_decisions import replay
from gasmcast.runtime.records import Notice
from gasmcast.runtime.service import secrets
from gasmcast.runtime.service.secrets import hide
from gasmcast.spec import ClipSpec

MODEL = SimpleNamespace(
    labels=Labels(["left", "right"]), spec=ClipSpec(), temperature=1.0, no_action=None
)


class Disk:
    """File on a disk that blocks until it is `free`, and then writes or raises `error`."""

    def __init__(self, file, error=None):
        self.file, self.error, self.free, self.write_started = (
            file,
            error,
            threading.Event(),
            threading.Event(),
        )

    def write(self, data):
        self.write_started.set()
        assert self.free.wait(10)
        if self.error:
            raise self.error
        return self.file.write(data)

    def flush(self):
        self.file.flush()

    def close(self):
        self.file.close()


def recorder_on(path, error=None, **settings):
    recorder = Recorder(path, MODEL, LiveConfig(), "tiny", **settings)
    recorder._file = disk = Disk(recorder._file, error)
    return recorder, disk


def lines(path):
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_a_disk_that_hangs_holds_nobody_up_and_loses_nothing_that_there_is_room_for(tmp_path):
    recorder, disk = recorder_on(tmp_path / "run.jsonl")
    begun = time.monotonic()
    for number in range(5000):
        recorder.trace("drop", {"number": number})
    assert time.monotonic() - begun < 1.0
    disk.free.set()
    recorder.close()
    assert [line["number"] for line in lines(tmp_path / "run.jsonl")[1:]] == list(range(5000))
    assert recorder.stats() == {"written": 5000, "lost": 0, "waiting": 0}


def test_what_is_lost_beyond_that_is_counted_where_it_is_missing_and_a_replay_says_so(
    tmp_path, caplog
):
    recorder, disk = recorder_on(tmp_path / "run.jsonl", room=5)
    recorder.add_camera("cam", "demo:", live=True)
    assert disk.write_started.wait(5)  # the thread is writing that line
    for number in range(12):
        recorder.trace("drop", {"camera": "cam", "cause": "late", "number": number})
    recorder.add_camera(
        "late", "demo:", live=True
    )  # never lost: without it none of its lines could be read
    assert recorder.stats() == {"written": 0, "lost": 7, "waiting": 7}
    assert caplog.text.count("the disk is too slow") == 1
    disk.free.set()
    end = time.monotonic() + 5
    while recorder.stats()["waiting"] and time.monotonic() < end:
        time.sleep(0.005)
    recorder.trace("drop", {"camera": "cam", "cause": "late", "number": 12})
    recorder.close()
    recorded = lines(tmp_path / "run.jsonl")[1:]
    assert [line.get("number", line["is"]) for line in recorded] == [
        "camera",
        0,
        1,
        2,
        3,
        4,
        "lost",
        "camera",
        12,
    ]
    assert recorded[6]["lines"] == 7
    result = replay(tmp_path / "run.jsonl", lambda record: None)
    assert not result
    assert result.differences == (
        "7 lines are missing because the disk was too slow: decisions that depend on them differ.",
    )


def test_a_run_of_files_waits_for_the_disk(tmp_path):
    recorder, disk = recorder_on(tmp_path / "run.jsonl", room=5)
    recorder.add_camera("clip", "clip.mp4", live=False)
    assert disk.write_started.wait(5)
    done = threading.Event()

    def play():
        for number in range(200):
            recorder.trace("drop", {"number": number})
        done.set()

    threading.Thread(target=play, daemon=True).start()
    assert not done.wait(0.2)
    disk.free.set()
    assert done.wait(5)
    recorder.close()
    assert recorder.stats() == {"written": 201, "lost": 0, "waiting": 0}


def test_a_run_of_files_does_not_wait_for_a_disk_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr("gasmcast.runtime.recording.recorder._HANGS_S", 0.2)
    recorder, disk = recorder_on(tmp_path / "run.jsonl", room=5)
    recorder.add_camera("clip", "clip.mp4", live=False)
    assert disk.write_started.wait(5)
    begun = time.monotonic()
    for number in range(50):
        recorder.trace("drop", {"number": number})
    assert 0.2 <= time.monotonic() - begun < 2.0
    disk.free.set()
    recorder.close()
    assert recorder.stats() == {"written": 7, "lost": 45, "waiting": 0}


def test_a_recording_that_is_there_is_left_alone(tmp_path):
    path = tmp_path / "run.jsonl"
    for number in (1, 2, 3):
        recorder = Recorder(path, MODEL, LiveConfig(), f"engine {number}")
        recorder.close()
        assert recorder.path == (path if number == 1 else tmp_path / f"run-{number}.jsonl")
    for number, name in enumerate(("run.jsonl", "run-2.jsonl", "run-3.jsonl"), 1):
        assert [line["engine"] for line in lines(tmp_path / name)] == [f"engine {number}"]
        assert replay(tmp_path / name, lambda record: None)


def test_no_secret_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "_secrets", set())
    hide("hunter2")
    recorder = Recorder(tmp_path / "run.jsonl", MODEL, LiveConfig(), "tiny")
    recorder.add_camera("cam", "rtsp://u:secret@h/x", live=True)
    recorder.trace("mark", {"text": "the stream of rtsp://u:secret@h/x?token=t0k3n ended"})
    recorder.write(Notice("cam", 0.0, 0.0, "state", "hunter2 was refused"))
    recorder.close()
    text = (tmp_path / "run.jsonl").read_text()
    assert len(text.splitlines()) == 4
    assert not [word for word in ("secret", "t0k3n", "hunter2") if word in text]


def test_a_password_that_is_a_common_word_leaves_the_data_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "_secrets", set())
    words = (
        "2026",
        "event",
        "start",
        "window",
        "record",
        "demo",
        "something",
        "decision",
        "camera",
    )
    for word in words:
        hide(word)
    labels = Labels(["Pushing something", "camera"])
    model = SimpleNamespace(labels=labels, spec=ClipSpec(), temperature=1.0, no_action=None)
    recorder = Recorder(tmp_path / "run.jsonl", model, LiveConfig(smooth_s=0), "tiny")
    recorder.add_camera("demo", "/clips/something/window-2026.mp4", live=False)
    view = LabelView(labels, LiveConfig(smooth_s=0))
    decider = Decider("demo", view, LiveConfig(smooth_s=0))
    for end_s, row in ((4.0, [9, 0]), (4.5, [0, 9])):
        fields = {"camera": "demo", "window": (end_s - 4, end_s), "wall_s": 1.78e9}
        recorder.trace("window", {**fields, "latency_ms": {}, "logits": row})
        logits = np.array(row, np.float32)
        for record in decider.update((end_s - 4, end_s), logits, 1.78e9, {}):
            recorder.write(record)
    recorder.close()
    assert replay(tmp_path / "run.jsonl", lambda record: None)
    recorded = lines(tmp_path / "run.jsonl")
    assert [line["is"] for line in recorded[:3]] == ["run", "camera", "window"]
    assert recorded[0]["labels"] == list(labels.names)
    assert recorded[1]["source"] == "/clips/something/window-2026.mp4"
    decision = next(line for line in recorded if line["is"] == "record")
    assert decision["ts"].startswith("2026-")
    assert (decision["kind"], decision["label"]) == ("decision", "Pushing something")


def test_a_full_disk_ends_the_recording_and_says_so_once(tmp_path, caplog):
    recorder, disk = recorder_on(
        tmp_path / "run.jsonl", error=OSError(errno.ENOSPC, "No space left on device")
    )
    disk.free.set()
    recorder.trace("drop", {})
    end = time.monotonic() + 5
    while not recorder.trouble and time.monotonic() < end:
        time.sleep(0.005)
    assert "No space left" in recorder.trouble
    for _ in range(9):
        recorder.trace("drop", {})
    recorder.close()
    assert recorder.stats() == {"written": 0, "lost": 10, "waiting": 0}
    assert caplog.text.count("The recording ends here") == 1


def test_a_disk_that_hangs_at_the_end_is_not_waited_for(tmp_path, caplog):
    recorder, disk = recorder_on(tmp_path / "run.jsonl")
    for _ in range(3):
        recorder.trace("drop", {})
    begun = time.monotonic()
    recorder.close(0.2)
    assert time.monotonic() - begun < 1.0
    assert recorder.stats() == {"written": 0, "lost": 3, "waiting": 0}
    assert "3 lines of the recording unwritten" in caplog.text
    disk.free.set()


def test_where_nothing_can_be_written_it_does_not_begin(tmp_path):
    for path in (tmp_path / "none" / "run.jsonl", tmp_path):
        with pytest.raises(MachineError, match="cannot be written"):
            Recorder(path, MODEL, LiveConfig(), "tiny")
