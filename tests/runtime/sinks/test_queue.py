from __future__ import annotations

import logging
import threading
import time

import numpy as np
import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import Event
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.sinks.queue import QueuedSink, QueuedViewSink


class Target:
    """A sink that raises the errors it is given, and blocks while it is closed."""

    def __init__(self):
        self.got, self.frames, self.closed = [], [], 0
        self.trouble: list[Exception] = []
        self.open = threading.Event()
        self.open.set()

    def write(self, record):
        assert self.open.wait(10)
        if self.trouble:
            raise self.trouble.pop(0)
        self.got.append(record)

    def frame(self, camera, time_s, image):
        self.write((camera, time_s))

    def close(self):
        self.closed += 1


def quick():
    return Backoff(0.01, 0.02, draw=lambda: 1.0)


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.005)


def test_what_a_sink_does_not_want_takes_no_room_and_is_not_lost(make):
    class Choosy(Target):
        @staticmethod
        def wants(record):
            return isinstance(record, Event)

    target = Choosy()
    target.open.clear()
    queued = QueuedSink("q", lambda: target, room=2, lossless=["cam"])
    for _ in range(9):
        for record in (make.decision(), make.stats(), make.notice()):
            queued.write(record)
    assert queued.wait_for_room("cam", 0.0)
    queued.write(make.event())
    target.open.set()
    until(lambda: target.got)
    queued.close()
    queued.write(make.decision())
    assert queued.stats() == {"written": 1, "waiting": 0}


def test_everything_arrives_in_order_and_close_waits_for_it(make):
    target = Target()
    queued = QueuedSink("q", lambda: target)
    records = [make.decision(float(i)) for i in range(100)]
    for record in records:
        queued.write(record)
    queued.close()
    assert target.got == records
    assert target.closed == 1
    assert not queued._thread.is_alive()
    assert queued.stats() == {"written": 100, "waiting": 0}


def test_a_slow_sink_loses_the_oldest_decisions_and_never_an_event(make):
    target = Target()
    target.open.clear()
    queued = QueuedSink("q", lambda: target, room=10)
    queued.write(make.decision(-1.0))
    until(lambda: not queued.stats()["waiting"])  # the thread holds it
    for i in range(500):
        queued.write(make.decision(float(i)))
        if i % 5 == 0:
            queued.write(make.event("start", i))
            queued.write(make.event("update", i))
            queued.write(make.event("end", i))
    assert queued.stats()["full"] == 500 + 100 - 10
    target.open.set()
    queued.close()
    events = [r for r in target.got if isinstance(r, Event)]
    assert [(e.phase, e.number) for e in events if e.phase != "update"] == [
        (p, i) for i in range(0, 500, 5) for p in ("start", "end")
    ]
    loose = [r for r in target.got[1:] if not isinstance(r, Event) or r.phase == "update"]
    assert len(loose) == 10
    assert loose[-1].time_s == 499.0


def test_a_sink_that_is_down_gets_events_later_and_decisions_not(make):
    target = Target()
    target.trouble = [MachineError("the broker is away") for _ in range(4)]
    queued = QueuedSink("q", lambda: target, backoff=quick())
    queued.write(make.decision())
    queued.write(make.event("start"))
    until(lambda: target.got)
    assert [type(r) for r in target.got] == [Event]
    assert queued.stats() == {"written": 1, "error": 1, "retries": 4, "waiting": 0}
    assert queued.trouble == ""
    queued.close()


def test_what_troubles_it_can_be_read_meanwhile(make, caplog):
    target = Target()
    target.trouble = [MachineError("rtsp://u:secret@h is away") for _ in range(1000)]
    queued = QueuedSink("q", lambda: target, backoff=quick())
    queued.write(make.event())
    until(lambda: queued.trouble)
    assert queued.trouble == "rtsp://***@h is away"
    with caplog.at_level(logging.ERROR):
        queued.close()
    assert queued.stats()["closed"] == 1
    assert "before an event could be written" in caplog.text
    assert "secret" not in caplog.text


def test_a_sink_that_breaks_is_made_anew_and_the_record_tried_again(make, caplog):
    made = []

    def make_sink():
        target = Target()
        target.trouble = [ZeroDivisionError("bug")] if not made else []
        made.append(target)
        return target

    queued = QueuedSink("q", make_sink, backoff=quick())
    queued.write(make.event())
    until(lambda: len(made) == 2 and made[1].got)
    assert made[0].closed == 1
    assert queued.stats()["restarts"] == 1
    queued.close()
    assert "ZeroDivisionError" in caplog.text


def test_a_record_that_always_breaks_it_does_not_stop_the_others(make):
    class Picky(Target):
        def write(self, record):
            if isinstance(record, Event) and record.number == 13:
                raise ValueError("13")
            super().write(record)

    target = Picky()
    queued = QueuedSink("q", lambda: target, backoff=quick())
    for number in (12, 13, 14):
        queued.write(make.event("end", number))
    until(lambda: len(target.got) == 2)
    assert [e.number for e in target.got] == [12, 14]
    assert queued.stats()["poison"] == 1
    queued.close()


def test_a_wrong_setting_is_an_error_at_the_start():
    def make_sink():
        raise UsageError("no such broker")

    with pytest.raises(UsageError):
        QueuedSink("q", make_sink)


def test_a_sink_that_hangs_does_not_keep_close_waiting(make, caplog):
    target = Target()
    target.open.clear()
    queued = QueuedSink("q", lambda: target)
    for number in range(3):
        queued.write(make.event("end", number))
    start = time.monotonic()
    queued.close(0.2)
    assert time.monotonic() - start < 1.0
    assert queued.stats() == {
        "written": 0,
        "closed": 3,
        "waiting": 0,
    }  # the one in the hand of the thread too
    target.open.set()
    assert "3 of them events" in caplog.text


def test_a_sink_that_hangs_is_told_of_and_lets_a_file_go_on(make):
    target, now = Target(), [0.0]
    target.open.clear()
    queued = QueuedSink("q", lambda: target, room=2, lossless={"file"}, clock=lambda: now[0])
    for i in range(3):
        queued.write(make.decision(float(i), camera="file"))
    until(lambda: queued.stats()["waiting"] == 2)
    assert not queued.wait_for_room("file", 0.05)
    assert queued.trouble == ""
    now[0] = 31.0
    assert queued.wait_for_room("file", 0.05)
    assert queued.trouble == "one record has been under way for 31 s"
    queued.write(make.decision(9.0, camera="file"))
    assert queued.stats() == {
        "written": 0,
        "full": 1,
        "waiting": 2,
    }  # its memory has a bound even so
    target.open.set()
    queued.close()
    assert queued.trouble == ""


def test_events_have_a_bound_too_and_passing_it_is_an_error_in_the_log(make, caplog):
    target = Target()
    target.open.clear()
    queued = QueuedSink("q", lambda: target, keep=5)
    for number in range(10):
        queued.write(make.event("end", number))
    assert queued.stats()["overflow"] >= 4
    assert "oldest is lost" in caplog.text
    target.open.set()
    queued.close()
    assert target.got[-1].number == 9


def test_a_file_loses_nothing_to_a_slow_sink_and_a_camera_makes_room(make):
    target = Target()
    target.open.clear()
    view = QueuedViewSink("v", lambda: target, room=4, lossless={"file"})
    picture = np.zeros((2, 2, 3), np.uint8)
    for i in range(50):
        view.frame("cam", float(i), picture)
    assert view.stats()["full"] > 40
    assert view.wait_for_room("cam")
    for i in range(50):
        view.frame("file", float(i), picture)
        view.write(make.decision(float(i), camera="file"))
        view.frame("cam", 50.0 + i, picture)
    assert not view.wait_for_room("file", 0.05)
    target.open.set()
    assert view.wait_for_room("file", 5.0)
    view.close()
    played = [r for r in target.got if (r[0] if isinstance(r, tuple) else r.camera) == "file"]
    assert [r[1] if isinstance(r, tuple) else r.time_s for r in played] == [
        i for i in range(50) for _ in range(2)
    ]


def test_a_sink_in_trouble_does_not_stop_a_file(make):
    target = Target()
    target.trouble = [MachineError("disk full") for _ in range(100_000)]
    queued = QueuedSink("q", lambda: target, room=4, lossless={"file"}, backoff=quick())
    start = time.monotonic()
    for i in range(200):
        queued.write(make.decision(float(i), camera="file"))
    assert time.monotonic() - start < 3
    queued.close(0.5)
