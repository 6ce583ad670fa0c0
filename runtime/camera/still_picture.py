"""Notice of a picture that does not change, or is black, although its camera delivers.

A frozen encoder, a covered lens or a camera without power for its sensor sends pictures as before;
only their content shows it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["StillPicture"]

_EVERY_S = 1.0  # between two looks, so that the check costs next to nothing
_SIZE = (28, 28)
_BLACK = 20.0  # gray level; the noise of a sensor in the dark is brighter
_FROZEN_S = 60.0  # sensors have noise, so that a picture that is equal for so long is a copy
_BLACK_S = 10.0


class StillPicture:
    """Watches small gray copies of one camera's frames; notifies once per change.

    Args:
        notify: takes the kind (`frozen`, `black` or `moving`) and the sentence without the name of
            the camera.
    """

    def __init__(self, notify: Callable[[str, str], None]) -> None:
        self.state = ""
        """`frozen`, `black`, or empty."""
        self._notify = notify
        self._looked_at = float("-inf")
        self._last: NDArray[np.uint8] | None = None
        self._same_since = self._black_since = float("inf")

    def add(self, now: float, image: NDArray[np.uint8]) -> None:
        """Look at a frame, once per second.

        Args:
            now: arrival of the frame in monotonic seconds.
            image: `(H, W, 3)` RGB.
        """
        if now - self._looked_at < _EVERY_S:
            return
        self._looked_at = now

        small = np.asarray(cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        same = self._last is not None and np.array_equal(small, self._last)
        self._last = small
        self._same_since = min(self._same_since, now) if same else float("inf")
        black = float(small.mean()) < _BLACK and int(small.max()) < 2 * _BLACK
        self._black_since = min(self._black_since, now) if black else float("inf")

        # Black first, for a black picture hardly changes either.
        if now - self._black_since >= _BLACK_S:
            self._change("black", "is black: is its lens covered, or its light off?")
        elif now - self._same_since >= _FROZEN_S:
            seconds = now - self._same_since
            self._change("frozen", f"has not changed for {seconds:.0f} s: is the camera frozen?")
        elif not (same or black) and self.state:
            self._change("", "changes again.")

    def restart(self) -> None:
        """Forget what was seen before an outage."""
        self._last = None
        self._same_since = self._black_since = float("inf")

    def _change(self, state: str, text: str) -> None:
        if state != self.state:
            self.state = state
            self._notify(state or "moving", text)
