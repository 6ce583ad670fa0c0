from __future__ import annotations

import numpy as np

from gasmcast.runtime.camera.backlog import Mark, SegmentBacklog
from gasmcast.runtime.camera.clock import Segment


def segment(index):
    return Segment(
        0,
        index,
        0.5 * index,
        0.5 * (index + 1),
        np.zeros((1,), np.uint8),
        (0.5 * index,),
        0.0,
        float(index),
    )


def offer(backlog, index, whole):
    new = segment(index)
    if backlog.admit(new, whole):
        backlog.add(new, float(index))


def numbers(backlog):
    return [w.item.what if isinstance(w.item, Mark) else w.item.index for w in backlog]


def test_newest_wins_and_marks_stay_in_order():
    dropped = []
    backlog = SegmentBacklog(2, 4, lambda cause, lost: dropped.append((cause, lost.index)))
    backlog.add(Mark("gap"), 0.0)
    for index in range(4):
        offer(backlog, index, whole=False)
    assert numbers(backlog) == ["gap", 2, 3]
    assert dropped == [("late", 0), ("late", 1)]
    assert backlog.segments == 2
    assert backlog.full


def test_with_whole_windows_a_window_is_admitted_and_the_rest_is_skipped_until_nothing_waits():
    dropped = []
    backlog = SegmentBacklog(2, 4, lambda cause, lost: dropped.append((cause, lost.index)))
    for index in range(6):
        offer(backlog, index, whole=True)
    assert numbers(backlog) == [0, 1, 2, 3]
    assert dropped == [("skip", 4), ("skip", 5)]
    backlog.popleft()
    offer(backlog, 6, whole=True)
    assert numbers(backlog) == [1, 2, 3]
    assert dropped[-1] == ("skip", 6)
    backlog.clear()
    offer(backlog, 7, whole=True)
    assert numbers(backlog) == [7]


def test_after_a_mark_a_whole_window_is_admitted_again():
    skipped = []
    backlog = SegmentBacklog(1, 2, lambda cause, lost: skipped.append(lost.index))
    for index in range(2):
        offer(backlog, index, whole=True)
        backlog.clear()
    backlog.add(Mark("gap"), 0.0)
    for index in (2, 3, 4):
        offer(backlog, index, whole=True)
    assert numbers(backlog) == ["gap", 2, 3]
    assert skipped == [4]
