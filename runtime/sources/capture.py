"""What live sources share: reading an OpenCV capture frame by frame, within bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.lag import busy_s

__all__ = ["TIMEOUT_S", "Capture", "read_capture"]

TIMEOUT_S = 2.0
_MOST_PIXELS = 8192 * 4320  # what a broken or hostile header may make us allocate, at most
_UNREADABLE = 250  # pictures in a row that do not decode before the connection counts as lost
_AT_ONCE_S = 1.0  # a `grab` that fails sooner met a damaged packet, or the end; one that fails later timed out


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used."""

    def grab(self) -> bool:
        """Wait for the next picture; False when none came in time."""
        ...

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """Decode it, BGR."""
        ...

    def get(self, prop: int) -> float:
        """A property."""
        ...

    def release(self) -> None:
        """Close."""
        ...


def read_capture(
    capture: Capture,
    where: str,
    *,
    max_fps: float | None = None,
    bursts: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[float, float, float, NDArray[np.uint8]]]:
    """Frames until none comes in time; the capture is released at the end, also when the reader is given up.

    OpenCV's `grab` is as false for one damaged packet as for the end of the stream, so it is asked again until it has said so often,
    and at once each time.

    Args:
        capture: open.
        where: names it in errors.
        max_fps: pictures that come faster are skipped before they are decoded to RGB.
        bursts: many come at once and are played later: "faster" is by the stream's own stamps, not by arrival.
        clock: monotonic seconds.

    Yields:
        `(position_s, arrival, waited_s, image)`: the stream's own stamp, when the picture was there, how long nothing was there to decode
        since the one before, `(H, W, 3)` RGB.

    Raises:
        SourceError: pictures that cannot be decoded, or are too large.
    """
    unreadable, due, waited = 0, float("-inf"), 0.0
    try:
        while True:
            asked, busy = clock(), busy_s()
            grabbed = capture.grab()
            arrival = clock()
            waited += max(0.0, arrival - asked - (busy_s() - busy))
            if not grabbed:
                unreadable += 1
                if arrival - asked > _AT_ONCE_S or unreadable > _UNREADABLE:
                    return
                continue
            if max_fps is not None:
                moment, period = (
                    capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0 if bursts else arrival,
                    1.0 / max_fps,
                )
                if due - period <= moment < due:  # before that: the stream's clock was set back
                    continue
                due = moment + period if moment < due else max(due + period, moment - period)
            ok, image = capture.retrieve()
            if not ok or image is None or image.size == 0:
                unreadable += 1
                if unreadable > _UNREADABLE:
                    raise SourceError(
                        f"{where} sends pictures that cannot be decoded.",
                        "Check its codec; H.264 is safe.",
                    )
                continue
            unreadable = 0
            if image.shape[0] * image.shape[1] > _MOST_PIXELS:
                raise SourceError(
                    f"{where} sends pictures of {image.shape[1]} x {image.shape[0]}.",
                    "Set the camera to 4K or less.",
                )
            code = cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB
            yield (
                capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0,
                arrival,
                waited,
                np.asarray(cv2.cvtColor(image, code), np.uint8),
            )
            waited = 0.0
    finally:
        capture.release()
