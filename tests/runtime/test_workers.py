from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.errors import MachineError, StageError
from gasmcast.runtime.camera.backlog import Mark, PendingItem, SegmentBacklog
from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.camera.lane import LaneItem
from gasmcast.runtime.context import RuntimeContext
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.workers import Workers
from gasmcast.spec import ClipSpec


@pytest.fixture
def context():
    return RuntimeContext(ClipSpec(), LiveConfig(), lambda: 5.0, lambda: 0.0, lambda record: None)


def lane():
    dropped = []
    return SimpleNamespace(
        pending=SegmentBacklog(2, 8, lambda cause, segment: None),
        drop=lambda cause, segment: dropped.append(cause),
        dropped=dropped,
    )


def test_a_stage_that_fails_is_remembered_and_stops_the_others(context):
    error = ZeroDivisionError("a bug")

    def fails():
        raise error

    workers = Workers(context, {"encode": fails})
    workers.start()
    assert workers.join(5.0)
    assert workers.failure is error
    assert context.stopping
    assert not workers.goes_on("encode")


def test_an_engine_that_fails_on_the_way_asks_for_a_new_start(context):
    def fails():
        raise MachineError("The device is gone.", "Look at it.")

    workers = Workers(context, {"encode": fails})
    workers.start()
    assert workers.join(5.0)
    assert (type(workers.failure), workers.failure.exit_code, str(workers.failure)) == (
        StageError,
        75,
        "The device is gone. Look at it.",
    )


def test_a_thread_that_hangs_is_given_up_and_what_it_does_later_counts_for_nothing(context):
    free, seen = threading.Event(), []

    def hangs():
        workers.begin("encode", 1.0, [])
        free.wait(30)
        seen.append((workers.is_current("encode"), workers.done("encode")))
        raise ZeroDivisionError

    # A stage of an earlier test may still hang, as it was meant to.
    before = set(threading.enumerate())
    workers = Workers(context, {"encode": hangs})
    workers.start()
    (thread,) = set(threading.enumerate()) - before
    assert thread.name == "gasmcast-encode"
    assert not workers.join(0.05)
    free.set()
    thread.join(5.0)
    assert seen == [(False, False)]
    assert workers.failure is None


@pytest.mark.parametrize(("stage", "back"), [("encode", ["gap", "end"]), ("fuse", [])])
def test_a_replaced_stage_counts_its_segments_and_gives_the_encoders_marks_back(
    context, stage, back
):
    replaced, started = lane(), threading.Semaphore(0)
    workers = Workers(context, {stage: started.release})
    workers.start()
    segment = Segment(0, 0, 0.0, 0.5, np.zeros((1,), np.uint8), (0.0,), 0.0, 0.0)
    items = [
        LaneItem(replaced, PendingItem(item, 0.0)) for item in (Mark("gap"), segment, Mark("end"))
    ]
    assert not workers.replace(stage, None)
    workers.begin(stage, 0.0, items)
    stuck = workers.work(stage)
    assert workers.replace(stage, stuck)
    assert not workers.replace(stage, stuck)  # that work was abandoned before
    assert started.acquire(timeout=5)
    assert started.acquire(timeout=5)
    assert workers.join(5.0)
    assert replaced.dropped == ["restart"]
    assert [w.item.what for w in replaced.pending] == back
