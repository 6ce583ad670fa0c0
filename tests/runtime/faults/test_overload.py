"""The whole runtime under overload, and with sinks and disks that fail."""

from __future__ import annotations

import contextlib
import json
import time

import numpy as np
import pytest

from gasmcast.errors import MachineError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.recording.recorder import Recorder
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.sinks.jsonl import JsonlSink
from gasmcast.runtime.sinks.queue import QueuedSink, QueuedViewSink
from gasmcast.runtime.sinks.video_file import VideoSink
from gasmcast.runtime.sources.demo import DemoSource


class Color:
    """Camera that shows red, green and blue in turn, one second each."""

    live = reconnects = True

    def __init__(self, name, fps=20.0, seconds=None):
        self.name, self._fps, self._seconds = name, fps, seconds

    def frames(self):
        start, number = time.monotonic(), 0
        while self._seconds is None or number < self._seconds * self._fps:
            time.sleep(max(0.0, start + number / self._fps - time.monotonic()))
            image = np.zeros((48, 64, 3), np.uint8)
            image[:, :, int(number / self._fps) % 3] = 255
            yield Frame(number / self._fps, time.monotonic(), image)
            number += 1


def test_sixteen_cameras_on_an_engine_that_is_too_slow(run, until):
    """16 cameras give 64 segments per second; the engine does 4 in 0.25 s, 16 per second.

    So three of four are dropped and counted.
    """
    config = LiveConfig(smooth_s=0, on=0.5, off=0.3, refractory_s=0, stats_s=0.5, degrade=True)
    live_run = run(
        *[DemoSource(f"c{i:02d}", seed=i, fps=20, size=(64, 48)) for i in range(16)],
        slow_s=0.25,
        config=config,
    )
    live_run.session.pipeline.governor._every_s = (
        0.25  # otherwise the last level takes eight seconds
    )
    time.sleep(8.0)
    live_run.stop()
    live_run.check_laws()
    stats = live_run.stats()
    drops = [sum(camera.drops.values()) for camera in stats.cameras]
    done = [camera.segments for camera in stats.cameras]
    assert all(drops)
    assert sum(done) == pytest.approx(16 * 8, rel=0.5)
    assert min(done) >= 2, "every camera has its share"
    assert sum(done) + sum(drops) >= 0.7 * 16 * 8 / 0.25, "what came in is either done or counted"
    assert {note.text[-3] for note in live_run.notices("degrade")} == {"1", "2", "3", "4"}
    waits = [d.latency_ms["total"] for d in live_run.decisions()]
    assert len(waits) >= 16, "windows are decided, not only segments computed"
    assert max(waits) < 5000, "late is dropped, not queued"


def test_a_sink_that_is_slow_and_one_that_is_down_hold_up_nothing(run, until):
    class Down:
        def write(self, record):
            raise MachineError("nobody is there")

        def close(self):
            pass

    class Slow:
        def __init__(self):
            self.got = []

        def write(self, record):
            time.sleep(0.2)
            self.got.append(record)

        def close(self):
            pass

    class Broken:
        def write(self, record):
            raise ZeroDivisionError

        def close(self):
            raise RuntimeError

    slow = Slow()
    sinks = [
        QueuedSink("down", Down, room=8, backoff=Backoff(0.05, 0.2)),
        QueuedSink("slow", lambda: slow, room=4),
        QueuedSink("broken", Broken, room=8, backoff=Backoff(0.01, 0.02)),
    ]
    live_run = run(Color("a", seconds=6), Color("b", seconds=6), sinks=sinks)
    until(lambda: len(live_run.decisions()) >= 20)
    live_run.stop()
    live_run.check_laws()
    lag = [d.latency_ms["total"] for d in live_run.decisions()]
    assert np.median(lag) < 500
    assert sinks[0].stats()["retries"] > 3
    assert sinks[1].stats()["full"] > 0
    assert sinks[2].stats()["restarts"] > 3


def test_a_disk_that_fills_up_stops_neither_decisions_nor_events(run, until, small_disk, caplog):
    lines = QueuedSink(
        "jsonl", lambda: JsonlSink(small_disk / "a.jsonl"), backoff=Backoff(0.05, 0.2)
    )
    film = QueuedViewSink("video", lambda: VideoSink(small_disk / "a.avi"), room=48)
    live_run = run(Color("a"), sinks=[lines, film])
    live_run.until_decides("a", more=4)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096) == 4096:
            pass
    live_run.until_decides("a", more=8)
    until(lambda: lines.trouble)
    assert "No space left" in lines.trouble
    ballast.unlink()
    until(lambda: not lines.trouble)
    live_run.until_decides("a", more=4)
    live_run.stop()
    live_run.check_laws()
    starts = [e.number for e in live_run.events() if e.phase != "update"]
    saved = [json.loads(line) for line in (small_disk / "a.jsonl").read_text().splitlines()]
    kept = [
        line["number"] for line in saved if line["kind"] == "event" and line["phase"] != "update"
    ]
    assert kept == starts, "no start and no end is missing"
    counts = lines.stats()
    assert counts.get("error", 0) + counts.get("full", 0) + counts["retries"] > 0
    assert "the disk is full" in caplog.text
    assert (small_disk / "a.avi").exists() == (
        "a.avi is not whole" not in caplog.text
    )  # the ballast may leave no room for it


def test_a_recording_on_a_disk_that_fills_up_ends_and_nothing_else(run, small_disk, caplog):
    live_run = run(Color("a"))
    recorder = Recorder(
        small_disk / "run.jsonl",
        live_run.session.pipeline.model,
        live_run.session.pipeline.config,
        "colors",
    )
    live_run.session.sinks.append(recorder)
    live_run.session.pipeline._context.trace = recorder.trace
    live_run.until_decides("a", more=2)
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096) == 4096:
            pass
    live_run.until_decides("a", more=30)
    live_run.stop()
    assert live_run.failure is None
    assert caplog.text.count("The recording ends here") == 1


def test_cameras_that_come_and_go_leave_nothing_behind(run):
    live_run = run(Color("stays"))
    live_run.until_decides("stays", more=1)
    import threading

    before = threading.active_count()
    for number in range(5):
        live_run.session.add(Color(f"guest{number}"))
        live_run.until_decides(f"guest{number}", more=1)
        assert live_run.session.remove(f"guest{number}")
    assert threading.active_count() <= before
    assert list(live_run.session.pipeline.lanes) == ["stays"]
    live_run.stop()
    live_run.check_laws()
    assert {e.camera for e in live_run.events()} == {
        "stays",
        *(f"guest{number}" for number in range(5)),
    }
