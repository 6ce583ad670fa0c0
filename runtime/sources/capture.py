"""Reading of a live source picture by picture, within bounds; shared by cameras of all kinds."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.lag import busy_s

__all__ = ["MAX_PIXELS", "TIMEOUT_S", "Capture", "CapturedFrame", "check_size", "read_capture"]

TIMEOUT_S = 2.0

MAX_PIXELS = 5120 * 4096
"""Largest picture of a camera. A decoder holds up to 17 pictures, so this bounds what a broken or
hostile camera can make it allocate."""

_MAX_UNREADABLE = 250  # pictures in a row that do not decode before the connection counts as lost
_AT_ONCE_S = 1.0  # a `grab` that fails sooner met a damaged packet or the end, later a timeout


class Capture(Protocol):
    """An open camera or network stream."""

    @property
    def position_s(self) -> float:
        """Timestamp of the last picture that was grabbed, by the source's own clock."""
        ...

    def grab(self) -> bool:
        """Wait for the next picture; returns False when none came in time."""
        ...

    def retrieve(self) -> NDArray[np.uint8] | None:
        """Return the picture that was grabbed, `(H, W, 3)` RGB; None if it cannot be decoded."""
        ...

    def release(self) -> None:
        """Close the capture."""
        ...


class CapturedFrame(NamedTuple):
    """One picture of a capture."""

    position_s: float
    """Timestamp of the stream itself."""
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

    A webcam's `grab` returns the same False for one damaged picture and for the end of the stream,
    so it is repeated until it has failed many times, each time at once.

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

            if limit is not None and limit.skips(capture.position_s if bursts else arrival):
                continue

            # A single damaged picture is no reason to reconnect.
            image = capture.retrieve()
            if image is None or image.size == 0:
                unreadable += 1
                if unreadable > _MAX_UNREADABLE:
                    raise SourceError(
                        f"{where} sends pictures that cannot be decoded.",
                        "Check its codec; H.264 is safe.",
                    )
                continue
            unreadable = 0

            check_size(image.shape[1], image.shape[0], where)
            yield CapturedFrame(capture.position_s, arrival, waited_s, image)
            waited_s = 0.0
    finally:
        capture.release()


def check_size(width: int, height: int, where: str) -> None:
    """Check the size of a camera's pictures.

    Raises:
        SourceError: they are larger than `MAX_PIXELS`.
    """
    if height * width > MAX_PIXELS:
        raise SourceError(
            f"{where} sends pictures of {width} x {height}.",
            "Set the camera to 4K or less, or take its sub-stream.",
        )
