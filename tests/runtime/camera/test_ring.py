from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gasmcast.runtime.camera.ring import FeatureRing, Features
from gasmcast.runtime.engines.device_row import DeviceRow, RowLayout

SHAPES = {"semantic": (2, 1, 4, 3), "motion": (2, 1, 3)}
LAYOUT = RowLayout(SHAPES, dict.fromkeys(SHAPES, np.dtype(np.float32)))


class Blocks:
    """Memory of a device: the tensors of each block, and which blocks are in use."""

    def __init__(self) -> None:
        self.values: dict[int, np.ndarray] = {}
        self.used: set[int] = set()
        self.made = self.trims = 0

    def row(self, tensors: dict[str, np.ndarray]) -> DeviceRow:
        address = 1024 * self.made
        self.made += 1
        self.used.add(address)
        for name, placed in LAYOUT.tensors.items():
            self.values[address + placed.offset] = tensors[name]
        return DeviceRow(self, address, LAYOUT)

    def give(self, address: int) -> None:
        self.used.remove(address)

    def read(self, address: int, target: np.ndarray) -> None:
        target[...] = self.values[address]

    def check_open(self) -> None:
        pass

    def trim(self) -> None:
        self.trims += 1


def memory_of(ring: FeatureRing) -> int:
    return sum(array.nbytes for array in ring._memory.values())


def features(i: int) -> dict[str, np.ndarray]:
    return {
        "semantic": np.full(SHAPES["semantic"], i, np.float32),
        "motion": np.full(SHAPES["motion"], -i, np.float32),
    }


@pytest.fixture(params=["host", "device"])
def make(request) -> Callable[[int], Features]:
    """Make the features of a segment, filled with a number, on the host or on a device."""
    blocks = Blocks()
    if request.param == "host":
        return features
    return lambda i: blocks.row(features(i))


def numbers(ring: FeatureRing) -> list[int] | None:
    window = ring.window()
    if window is None:
        return None
    assert window["semantic"].shape == (1, ring.segments, 2, 1, 4, 3)
    assert all(value.flags.c_contiguous for value in window.values())
    assert (window["motion"][0, :, 0, 0, 0] == -window["semantic"][0, :, 0, 0, 0, 0]).all()
    return window["semantic"][0, :, 0, 0, 0, 0].astype(int).tolist()


def test_a_window_is_the_last_segments_in_order(make):
    ring = FeatureRing(4)
    for i in range(40):
        ring.append(0, i, make(i))
        assert numbers(ring) == (list(range(i - 3, i + 1)) if i >= 3 else None)


def test_no_window_spans_a_hole_or_a_new_run(make):
    ring = FeatureRing(3)
    for i in (0, 1, 2, 4, 5, 6):
        ring.append(0, i, make(i))
    assert numbers(ring) == [4, 5, 6]
    ring.append(1, 7, make(7))
    assert ring.window() is None


def test_it_knows_since_when_it_is_unbroken(make):
    ring, seen = FeatureRing(2), []
    for run, index in ((0, 0), (0, 1), (0, 2), (0, 4), (1, 0), (1, 1)):
        ring.append(run, index, make(index))
        seen.append(ring.unbroken)
    assert seen == [1, 2, 3, 1, 1, 2]
    ring.clear()
    assert ring.unbroken == 0
    ring.release()
    ring.append(1, 2, make(2))
    assert ring.unbroken == 1


def test_memory_on_the_host_is_kept_for_the_next_segments_until_it_is_released():
    ring = FeatureRing(2)
    ring.append(0, 0, features(0))
    ring.clear()
    assert memory_of(ring) > 0
    ring.release()
    assert memory_of(ring) == 0


def test_memory_on_a_device_is_given_back_with_the_last_reference():
    blocks, ring = Blocks(), FeatureRing(2)
    for i in range(5):
        ring.append(0, i, blocks.row(features(i)))
        assert len(blocks.used) == min(i + 1, 2)

    # A window that is being read holds its segments, and nothing writes over them.
    window = ring.window()
    ring.append(0, 5, blocks.row(features(5)))
    assert len(blocks.used) == 3
    assert window["semantic"][0, :, 0, 0, 0, 0].tolist() == [3, 4]
    del window
    assert len(blocks.used) == 2

    ring.clear()
    assert (blocks.used, blocks.trims) == (set(), 0)
    ring.release()
    ring.release()
    assert blocks.trims == 1


def test_one_segment_windows_work(make):
    ring = FeatureRing(1)
    for i in range(5):
        ring.append(0, i, make(i))
        assert numbers(ring) == [i]


def test_repeat_adds_the_last_again_only_when_it_follows(make):
    ring = FeatureRing(3)
    assert not ring.repeat(0, 0)
    ring.append(0, 0, make(7))
    assert ring.repeat(0, 1)
    assert ring.repeat(0, 2)
    assert numbers(ring) == [7, 7, 7]
    assert not ring.repeat(0, 9)
