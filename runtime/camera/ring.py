"""Feature ring: the last encoded segments of a camera, each encoded once for all its windows."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.engines.device_row import DeviceRow, DeviceWindow

if TYPE_CHECKING:
    from gasmcast.runtime.engines.trt.device_blocks import DeviceBlocks

__all__ = ["FeatureRing", "Features", "Window"]

Array = NDArray[np.float32]
Features = dict[str, Array] | DeviceRow
"""Encoded segment: arrays `semantic` `(L, f, P, D)` and `motion` `(L, C, D)`, or the same in device
memory."""
Window = Mapping[str, Array]
"""Encoded segments of a window: `semantic` `(1, S, L, f, P, D)` and `motion` `(1, S, L, C, D)`."""


class FeatureRing:
    """The last `segments` encoded segments in order, without a gap.

    On the host they are contiguous arrays. The memory holds twice the window. A new segment is
    written behind the others, and only when the memory is full are the last segments moved to the
    front. A window is therefore always one view. On a device each segment stays where the encoder
    left it, and the ring holds references: nothing is moved.

    Args:
        segments: segments of a window.
    """

    def __init__(self, segments: int) -> None:
        self.segments = segments
        self._memory: dict[str, Array] = {}
        # In place of `_memory`, where segments are on a device: references, and their allocator.
        self._rows: deque[DeviceRow] = deque(maxlen=segments)
        self._blocks: DeviceBlocks | None = None
        # Segments [_end - _count, _end) of the memory are filled.
        self._end = 0
        self._count = 0
        # Index of the first segment since the last hole, and run and index of the last segment.
        self._first = 0
        self._last: tuple[int, int] | None = None

    @property
    def unbroken(self) -> int:
        """Number of consecutive segments, up to the last one, since the last hole."""
        return 0 if self._last is None else self._last[1] - self._first + 1

    def append(self, run: int, index: int, features: Features) -> None:
        """Add an encoded segment. One that does not directly follow the last clears the ring first.

        Args:
            run: unbroken stretch of the source that the segment belongs to.
            index: position in that run.
            features: `semantic` `(L, f, P, D)` and `motion` `(L, C, D)`.
        """
        if self._last != (run, index - 1):
            self.clear()
            self._first = index
        self._last = (run, index)

        # A row that leaves the ring stays as long as a window that holds it.
        if isinstance(features, DeviceRow):
            self._blocks = features.blocks
            self._rows.append(features)
            return

        # The shapes are known with the first segment only.
        if not self._memory:
            self._memory = {
                name: np.empty((2 * self.segments, *value.shape), value.dtype)
                for name, value in features.items()
            }

        # The end of the memory is reached: move what the next window needs to the front.
        if self._end == 2 * self.segments:
            keep = min(self._count, self.segments - 1)
            for memory in self._memory.values():
                memory[:keep] = memory[self._end - keep : self._end]
            self._end = self._count = keep

        for name, value in features.items():
            self._memory[name][self._end] = value
        self._end += 1
        self._count += 1

    def window(self) -> Window | None:
        """Return the window that ends with the last segment; None while it is incomplete.

        Returns:
            `semantic` `(1, S, L, f, P, D)` and `motion` `(1, S, L, C, D)`: views that are valid
            until the next `append`, or a `DeviceWindow`, which stays valid.
        """
        if len(self._rows) == self.segments:
            return DeviceWindow(tuple(self._rows))
        if self._count < self.segments:
            return None
        return {
            name: memory[None, self._end - self.segments : self._end]
            for name, memory in self._memory.items()
        }

    def repeat(self, run: int, index: int) -> bool:
        """Add the last segment again, for a still scene.

        Returns:
            False if there is no segment directly before it to repeat.
        """
        if self._last != (run, index - 1) or not (self._count or self._rows):
            return False
        if self._rows:
            self.append(run, index, self._rows[-1])
            return True

        # A copy, because `append` may move the memory.
        last = {name: memory[self._end - 1].copy() for name, memory in self._memory.items()}
        self.append(run, index, last)
        return True

    def clear(self) -> None:
        """Forget all segments; keep the memory for the next ones."""
        self._end = self._count = 0
        self._last = None
        self._rows.clear()

    def release(self) -> None:
        """Forget all segments and free the memory."""
        self.clear()
        self._memory = {}
        if self._blocks is not None:
            self._blocks.trim()
            self._blocks = None
