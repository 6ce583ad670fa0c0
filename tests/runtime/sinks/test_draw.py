from __future__ import annotations

import numpy as np
import pytest

from gasmcast.runtime.records import Decision, Event
from gasmcast.runtime.sinks.draw import Overlay, draw

TOP = (
    ("Pushing something from left to right", 0.8),
    ("Pretending to put something behind something", 0.1),
    ("Über", 0.05),
)
DECISION = Decision("cam", 4.0, 0.0, (0.0, 4.0), TOP[0][0], 0, 0.8, TOP[0][0], 0.8, TOP)
EVENT = Event("cam", 4.0, 0.0, "start", TOP[0][0], 0, 0.8, 1.25, 3.5, 0.5, 0.5, 1)


@pytest.mark.parametrize(
    "size", [(16, 16), (64, 48), (120, 160), (360, 480), (1080, 1920), (2000, 300)]
)
@pytest.mark.parametrize(("decision", "event"), [(None, None), (DECISION, None), (DECISION, EVENT)])
def test_any_size_is_drawn_on_a_copy(size, decision, event):
    image = np.full((*size, 3), 200, np.uint8)
    out = draw(image, 4.2, decision, event)
    assert out.shape == image.shape
    assert (image == 200).all()
    assert (out != 200).any()


def test_the_bar_is_as_long_as_the_probability():
    image = np.zeros((360, 480, 3), np.uint8)
    lengths = []
    for p in (0.2, 0.4, 0.8):
        out = draw(
            image, 4.0, Decision("cam", 4.0, 0.0, (0.0, 4.0), "a", 0, p, "a", p, (("a", p),))
        )
        lengths.append(int(((out == (70, 150, 240)).all(-1)).any(0)[:200].sum()))
    alone = [int(((draw(image, 4.0, None) == (70, 150, 240)).all(-1)).sum())]
    assert alone == [0]
    rows = (draw(image, 4.0, DECISION) == (70, 150, 240)).all(-1).sum(1)
    assert rows.max() > 300  # the window bar at the foot
    assert lengths[0] <= lengths[1] <= lengths[2]


def test_an_overlay_follows_the_records():
    overlay = Overlay()
    overlay.take(DECISION)
    overlay.take(EVENT)
    assert (overlay.decision, overlay.event) == (DECISION, EVENT)
    overlay.take(Event("cam", 5.0, 0.0, "end", TOP[0][0], 0, 0.8, 1.25, 3.5, 1.5, 0.5, 1))
    assert overlay.event is None
    image = np.zeros((120, 160, 3), np.uint8)
    np.testing.assert_array_equal(overlay.draw(image, 5.0), draw(image, 5.0, DECISION, None))
