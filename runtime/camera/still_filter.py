"""The motion gate: a segment of a still scene need not be encoded again.

It compares 28 x 28 block means, so that a camera's noise averages out and a small thing that moves does not. Features depend on a
segment and its predecessor, so both must look like the two that were encoded last; a slow drift cannot creep through. It can skip
still scenes only, never while an event goes on; it is off unless asked for or needed, and what it saves is counted.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.camera.clock import Segment

__all__ = ["MotionGate"]

_BLOCKS = 28


class MotionGate:
    """Remembers what the last encoded segment of one camera looked like."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = (
            None  # run and index of the last segment that went by, encoded or not
        )
        self._low: NDArray[np.float32] | None = (
            None  # (28, 28) darkest and brightest of the last encoded pair
        )
        self._high: NDArray[np.float32] | None = None

    def still(self, segment: Segment, threshold: float, busy: bool) -> bool:
        """Whether the last encoded features stand for this segment too.

        Args:
            segment: the next one of this camera, in order.
            threshold: gray levels that a block may range over; 0: never still.
            busy: an event goes on: nothing is skipped.
        """
        follows = self._last == (segment.run, segment.index - 1)
        self._last = (segment.run, segment.index)
        last_low, last_high = self._low, self._high  # the stage that fuses may `forget` meanwhile
        if threshold <= 0:
            self._low = None
            return False
        low, high = _range(segment)
        if not busy and follows and last_low is not None and last_high is not None:
            span = np.maximum(high, last_high) - np.minimum(low, last_low)
            if float(span.max()) < threshold:
                return True
        self._low, self._high = low, high
        return False

    def forget(self) -> None:
        """What was encoded is lost or invalid."""
        self._last = self._low = self._high = None


def _range(segment: Segment) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per block the least and greatest gray mean over the frames of the pair, `(28, 28)` each."""
    frames = segment.pair.reshape(-1, *segment.pair.shape[2:])
    small = np.stack(
        [cv2.resize(f, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA) for f in frames]
    )
    gray = small.astype(np.float32).mean(axis=-1)
    return gray.min(axis=0), gray.max(axis=0)
