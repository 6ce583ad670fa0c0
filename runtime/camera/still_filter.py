"""Still-scene filter: a segment of a still scene reuses the features of the last encoded one.

The filter compares 28 x 28 block means, so camera noise averages out while a small moving object
does not. Features depend on a segment and its predecessor, so both must look like the pair that was
encoded last; comparing with that pair, not with the previous segment, also detects slow drift. The
filter never acts during an event, is off unless configured or needed, and counts what it saves.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.camera.clock import Segment

__all__ = ["StillFilter"]

_BLOCKS = 28


class StillFilter:
    """Appearance of the last encoded segment of one camera."""

    def __init__(self) -> None:
        # Run and index of the last segment, encoded or not.
        self._last: tuple[int, int] | None = None
        # Darkest and brightest block means of the last encoded pair, (28, 28) each.
        self._low: NDArray[np.float32] | None = None
        self._high: NDArray[np.float32] | None = None

    def is_still(self, segment: Segment, threshold: float, busy: bool) -> bool:
        """Return whether the last encoded features are valid for this segment too.

        Args:
            segment: next segment of this camera, in order.
            threshold: gray levels over which a block may vary; 0: never still.
            busy: whether an event is going on; then no segment is still.
        """
        follows = self._last == (segment.run, segment.index - 1)
        self._last = (segment.run, segment.index)
        # Local copies: the thread of the head may call `reset` at any time.
        last_low, last_high = self._low, self._high
        if threshold <= 0:
            self._low = None
            return False

        low, high = _block_range(segment)
        if not busy and follows and last_low is not None and last_high is not None:
            span = np.maximum(high, last_high) - np.minimum(low, last_low)
            if float(span.max()) < threshold:
                return True

        # This segment will be encoded, so the next ones are compared with it.
        self._low, self._high = low, high
        return False

    def reset(self) -> None:
        """Forget the last encoded segment, whose features were lost or are invalid."""
        self._last = self._low = self._high = None


def _block_range(segment: Segment) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and greatest gray mean of each block over the pair, `(28, 28)` each."""
    frames = segment.pair.reshape(-1, *segment.pair.shape[2:])  # (2F, H, W, 3)
    size = (_BLOCKS, _BLOCKS)
    small = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])
    gray = small.astype(np.float32).mean(axis=-1)  # (2F, 28, 28)
    return gray.min(axis=0), gray.max(axis=0)
