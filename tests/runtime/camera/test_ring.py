from __future__ import annotations

import numpy as np

from gasmcast.runtime.camera.ring import FeatureRing


def memory_of(ring: FeatureRing) -> int:
    return sum(array.nbytes for array in ring._memory.values())


def features(i: int) -> dict[str, np.ndarray]:
    return {
        "semantic": np.full((2, 1, 4, 3), i, np.float32),
        "motion": np.full((2, 1, 3), -i, np.float32),
    }


def numbers(ring: FeatureRing) -> list[int] | None:
    window = ring.window()
    if window is None:
        return None
    assert window["semantic"].shape == (1, ring.segments, 2, 1, 4, 3)
    assert all(value.flags.c_contiguous for value in window.values())
    assert (window["motion"][0, :, 0, 0, 0] == -window["semantic"][0, :, 0, 0, 0, 0]).all()
    return window["semantic"][0, :, 0, 0, 0, 0].astype(int).tolist()


def test_a_window_is_the_last_segments_in_order():
    ring = FeatureRing(4)
    for i in range(40):
        ring.append(0, i, features(i))
        assert numbers(ring) == (list(range(i - 3, i + 1)) if i >= 3 else None)


def test_no_window_spans_a_hole_or_a_new_run():
    ring = FeatureRing(3)
    for i in (0, 1, 2, 4, 5, 6):
        ring.append(0, i, features(i))
    assert numbers(ring) == [4, 5, 6]
    ring.append(1, 7, features(7))
    assert ring.window() is None


def test_it_knows_since_when_it_is_unbroken_and_gives_its_memory_back():
    ring, seen = FeatureRing(2), []
    for run, index in ((0, 0), (0, 1), (0, 2), (0, 4), (1, 0), (1, 1)):
        ring.append(run, index, features(index))
        seen.append(ring.unbroken)
    assert seen == [1, 2, 3, 1, 1, 2]
    ring.clear()
    assert (ring.unbroken, memory_of(ring) > 0) == (0, True)
    ring.release()
    assert memory_of(ring) == 0
    ring.append(1, 2, features(2))
    assert ring.unbroken == 1


def test_one_segment_windows_work():
    ring = FeatureRing(1)
    for i in range(5):
        ring.append(0, i, features(i))
        assert numbers(ring) == [i]


def test_repeat_adds_the_last_again_only_when_it_follows():
    ring = FeatureRing(3)
    assert not ring.repeat(0, 0)
    ring.append(0, 0, features(7))
    assert ring.repeat(0, 1)
    assert ring.repeat(0, 2)
    assert numbers(ring) == [7, 7, 7]
    assert not ring.repeat(0, 9)
