from __future__ import annotations

import numpy as np
import pytest

from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.camera.delivery import Delivery
from gasmcast.spec import ClipSpec

SPEC = ClipSpec(segments=4, segment_s=0.5, motion_frames=4, semantic_frames=1, pixels=32)


def segment(index, stamps, run=0):
    return Segment(
        run, index, 0.5 * index, 0.5 * (index + 1), np.zeros((1,), np.uint8), stamps, 0.0, 0.0
    )


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def delivery(warnings):
    return Delivery("cam", SPEC, 0.75, warnings.append)


def test_a_source_that_gives_all_is_not_complained_about(delivery, warnings):
    for index in range(6):
        delivery.add_segment(segment(index, tuple(0.5 * index + 0.125 * i for i in range(4))))
    assert delivery.rates()[1] == 1.0
    assert warnings == []


def test_repeated_frames_are_told_once_also_those_of_the_segment_before(delivery, warnings):
    delivery.add_segment(segment(0, (0.0, 0.0, 0.25, 0.25)))
    delivery.add_segment(
        segment(1, (0.25, 0.25, 0.75, 0.75))
    )  # the first was counted in the segment before
    delivery.add_segment(segment(2, (1.0, 1.0, 1.25, 1.25)))
    assert delivery.rates()[1] == round(5 / 12, 3)
    assert warnings == [
        (
            "cam gives 3.0 of the 8 frames a second that the model was trained on: "
            "frames are repeated, fast actions may be missed."
        )
    ]


def test_gaps_without_a_segment_between_them_are_told_once(delivery, warnings):
    for run in range(1, 8):
        delivery.add_gap(run)
    assert len(warnings) == 1
    assert "filled no segment between its last 5 gaps" in warnings[0]
    assert "0.75 s apart" in warnings[0]


def test_the_rate_begins_anew_after_an_outage(delivery):
    assert delivery.rates() == (0.0, 0.0)
    for arrival in (0.0, 0.1, 0.2):
        delivery.add_frame(arrival)
    assert delivery.rates()[0] == 10.0
    delivery.restart()
    for arrival in (60.0, 60.5):
        delivery.add_frame(arrival)
    assert delivery.rates()[0] == 2.0
