"""A playlist's pictures, which come in bursts, with a simulated clock."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.network import NetworkSource


class Playlist:
    """A capture whose pictures have `positions` and come at once; then the stream ends."""

    def __init__(self, now, positions):
        self._now, self._positions, self._at = now, iter(positions), 0.0
        self.slept = []

    def grab(self):
        self._now[0] += 0.001
        self._at = next(self._positions, None)
        if self._at is None:
            self._now[0] += 5.0  # nothing came in time
        return self._at is not None

    def retrieve(self):
        return True, np.zeros((4, 4, 3), np.uint8)

    def get(self, prop):
        return 1000.0 * self._at if prop == cv2.CAP_PROP_POS_MSEC else 0

    def release(self):
        pass

    def sleep(self, seconds):
        self.slept.append(seconds)
        self._now[0] += seconds


def read(positions, **settings):
    capture, got = Playlist([50.0], positions), []
    source = NetworkSource(
        "http://cam/live.m3u8",
        "cam",
        clock=lambda: capture._now[0],
        sleep=capture.sleep,
        opener=lambda *_: capture,
        **settings,
    )
    with pytest.raises(SourceError, match="nothing any more"):
        got.extend((frame.stamp_s, frame.arrival) for frame in source.frames())
    return capture, got


@pytest.mark.parametrize(("max_fps", "step_s"), [(None, 1 / 30), (10.0, 0.1), (30.0, 1 / 30)])
def test_bursts_are_thinned_and_played_by_their_own_stamps(max_fps, step_s):
    _, got = read(np.arange(300) / 30, max_fps=max_fps)
    assert len(got) == pytest.approx(10 / step_s, abs=2)
    steps = [after[0] - before[0] for before, after in itertools.pairwise(got)]
    assert np.median(steps) == pytest.approx(step_s, abs=0.005)
    assert max(steps) < step_s + 0.05
    assert max(abs(stamp - arrival) for stamp, arrival in got) < 0.05


@pytest.mark.parametrize("jump_s", [20.0, -20.0])
@pytest.mark.parametrize("max_fps", [None, 10.0])
def test_a_jump_of_the_playlists_clock_is_not_slept_through(jump_s, max_fps):
    """A sleep of ten seconds would look like a thread that hangs."""
    positions = [*np.arange(100, 102, 1 / 30), *np.arange(102 + jump_s, 104 + jump_s, 1 / 30)]
    capture, got = read(positions, max_fps=max_fps)
    assert max(capture.slept) < 0.2
    assert len(got) == pytest.approx(4 * (max_fps or 30), abs=5)
    assert got[-1][0] - got[0][0] == pytest.approx(4.0, abs=0.3)
