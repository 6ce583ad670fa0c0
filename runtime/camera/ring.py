"""The ring of encoded segments of one camera: each is computed once and serves every window that holds it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureRing"]

Array = NDArray[np.float32]


class FeatureRing:
    """The last `segments` encoded segments, in order and without a gap, as arrays that need no copying.

    The memory holds twice the window: a new segment is written behind the others, and only when the end is reached are
    the last ones moved to the front. A window is therefore always one contiguous view.
    """

    def __init__(self, segments: int) -> None:
        self.segments = segments
        self._room: dict[str, Array] = {}
        self._end = 0  # segments [_end - _count, _end) of the memory are filled
        self._count = 0
        self._first = 0  # index of the first segment since the last hole
        self._last: tuple[int, int] | None = None

    @property
    def unbroken(self) -> int:
        """How many segments followed one another without a hole, up to the last."""
        return 0 if self._last is None else self._last[1] - self._first + 1

    def append(self, run: int, index: int, features: dict[str, Array]) -> None:
        """Add an encoded segment; what does not follow directly on the last one starts afresh.

        Args:
            run: the unbroken stretch that it belongs to.
            index: its position there.
            features: `semantic (L, f, P, D)` and `motion (L, C, D)`.
        """
        if self._last != (run, index - 1):
            self.clear()
            self._first = index
        if not self._room:
            self._room = {
                name: np.empty((2 * self.segments, *value.shape), value.dtype)
                for name, value in features.items()
            }
        if self._end == 2 * self.segments:
            keep = min(self._count, self.segments - 1)
            for room in self._room.values():
                room[:keep] = room[self._end - keep : self._end]
            self._end = self._count = keep
        for name, value in features.items():
            self._room[name][self._end] = value
        self._end += 1
        self._count += 1
        self._last = (run, index)

    def window(self) -> dict[str, Array] | None:
        """`semantic (1, S, L, f, P, D)` and `motion (1, S, L, C, D)`, views valid until the next `append`; None while incomplete."""
        if self._count < self.segments:
            return None
        return {
            name: room[None, self._end - self.segments : self._end]
            for name, room in self._room.items()
        }

    def repeat(self, run: int, index: int) -> bool:
        """Add the last segment again, as the motion gate does for a still scene; False when there is none to repeat."""
        if self._last != (run, index - 1) or not self._count:
            return False
        last = {name: room[self._end - 1].copy() for name, room in self._room.items()}
        self.append(run, index, last)
        return True

    def clear(self) -> None:
        """Forget all segments; the memory stays, for those that come."""
        self._end = self._count = 0
        self._last = None

    def release(self) -> None:
        """Forget all segments, and give the memory back."""
        self.clear()
        self._room = {}

    def nbytes(self) -> int:
        """Bytes of memory held."""
        return sum(room.nbytes for room in self._room.values())
