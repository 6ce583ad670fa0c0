"""Reading of an OpenCV capture frame by frame, within bounds; shared by all live sources."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.lag import busy_s

__all__ = ["TIMEOUT_S", "Capture", "CapturedFrame", "read_capture"]

TIMEOUT_S = 2.0
_MAX_PIXELS = 8192 * 4320  # bounds what a broken or hostile header can make us allocate
_MAX_UNREADABLE = 250  # pictures in a row that do not decode before the connection counts as lost
_AT_ONCE_S = 1.0  # a `grab` that fails sooner met a damaged packet or the end, later a timeout


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used."""

    def grab(self) -> bool:
        """Wait for the next picture; returns False when none came in time."""
        ...

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """Decode the picture that was grabbed, in BGR."""
        ...

    def get(self, prop: int) -> float:
        """Return a property."""
        ...

    def release(self) -> None:
        """Close the capture."""
        ...


class CapturedFrame(NamedTuple):
    """One picture of a capture."""

    position_s: float
    """Time stamp of the stream itself."""
    arrival: float
    """Monotonic seconds when the picture was there."""
    waited_s: float
    """How long there was nothing to decode since the frame before."""
    image: NDArray[np.uint8]
    """`(H, W, 3)` RGB."""


class _RateLimit:
    """Decide which pictures to skip for `max_fps`."""

    def __init__(self, max_fps: float) -> None:
        self._period_s = 1.0 / max_fps
        self._due = float("-inf")

    def skips(self, moment: float) -> bool:
        """Return whether the picture at `moment` (seconds) comes too early."""
        # More than a period before it is due, the stream's clock was set back: start again.
        if self._due - self._period_s <= moment < self._due:
            return True
        if moment < self._due:
            self._due = moment + self._period_s
        else:
            self._due = max(self._due + self._period_s, moment - self._period_s)
        return False


def read_capture(
    capture: Capture,
    where: str,
    *,
    max_fps: float | None = None,
    bursts: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[CapturedFrame, None, None]:
    """Yield frames until none comes in time; releases the capture, also when it is abandoned.

    OpenCV's `grab` returns the same False for one damaged packet and for the end of the stream, so
    it is repeated until it has failed many times, each time at once.

    Args:
        capture: open.
        where: name of the source in errors.
        max_fps: pictures beyond this rate are skipped before they are converted to RGB.
        bursts: many pictures come at once and are played later; the rate is then measured by the
            stream's own stamps, not by arrival.
        clock: monotonic seconds.

    Raises:
        SourceError: pictures that cannot be decoded, or are too large.
    """
    limit = None if max_fps is None else _RateLimit(max_fps)
    unreadable, waited_s = 0, 0.0
    try:
        while True:
            asked, busy = clock(), busy_s()
            grabbed = capture.grab()
            arrival = clock()
            # Time in `grab` that this thread did not compute was spent waiting for the network.
            waited_s += max(0.0, arrival - asked - (busy_s() - busy))
            if not grabbed:
                unreadable += 1
                if arrival - asked > _AT_ONCE_S or unreadable > _MAX_UNREADABLE:
                    return
                continue

            if limit is not None:
                position_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0 if bursts else arrival
                if limit.skips(position_s):
                    continue

            # A single damaged picture is no reason to reconnect.
            ok, image = capture.retrieve()
            if not ok or image is None or image.size == 0:
                unreadable += 1
                if unreadable > _MAX_UNREADABLE:
                    raise SourceError(
                        f"{where} sends pictures that cannot be decoded.",
                        "Check its codec; H.264 is safe.",
                    )
                continue
            unreadable = 0

            position_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            yield CapturedFrame(position_s, arrival, waited_s, _to_rgb(image, where))
            waited_s = 0.0
    finally:
        capture.release()


def _to_rgb(image: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if height * width > _MAX_PIXELS:
        raise SourceError(
            f"{where} sends pictures of {width} x {height}.", "Set the camera to 4K or less."
        )

    # Some cameras send gray pictures.
    code = cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB
    return np.asarray(cv2.cvtColor(image, code), np.uint8)
