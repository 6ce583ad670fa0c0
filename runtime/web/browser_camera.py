"""A browser as a camera: an open page sends JPEG pictures with timestamps over a WebSocket."""

from __future__ import annotations

import queue
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import SourceError
from gasmcast.runtime.frames import Frame

__all__ = ["MAX_MESSAGE", "BrowserCamera", "jpeg_size"]

MAX_MESSAGE = 1_000_000
"""Largest message in bytes."""
_MAX_PX = 1920
_MAX_FPS = 30.0
_WAITING = 4
_HEAD = struct.Struct("<d")  # seconds of the page's own clock, then the JPEG
# Markers of the frame header (SOF); C4, C8 and CC are tables.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline and extended sequential. A progressive picture may have any number of scans, each of
# which costs as much time as a whole picture.
_SEQUENTIAL = (0xC0, 0xC1)
_SCAN, _MAX_SCANS = b"\xff\xda", 8  # one for each color, and those of a preview in the header


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in the header of a sequential JPEG, without decoding; None otherwise.

    The header is read by the layout of ITU-T T.81, annex B: a small file may claim a picture that
    fills the memory when it is decoded.
    """
    if data[:2] != b"\xff\xd8" or data.count(_SCAN) > _MAX_SCANS:
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _FRAME_HEADERS:
            if marker not in _SEQUENTIAL:
                return None
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            return width, height
        at += 2 + length
    return None


class BrowserCamera:
    """Source whose pictures a page sends; the newest replace the oldest when the runtime is busy.

    Args:
        name: name of the camera.
        clock: monotonic seconds.
    """

    live = True
    reconnects = False

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.dropped = 0
        """Pictures that came too fast."""
        self._clock = clock
        self._queue: queue.Queue[tuple[float, float, bytes] | None] = queue.Queue(_WAITING)
        self._last_s = -1e9

    def put(self, message: bytes) -> None:
        """Take a message: eight bytes of time (float64, little endian, seconds) and a JPEG.

        Raises:
            SourceError: it is no such message, or its picture is too large.
        """
        size = jpeg_size(message[_HEAD.size :])
        if size is None or len(message) > MAX_MESSAGE:
            raise SourceError("A browser camera sent something else than a picture.")
        if not 0 < min(size) <= max(size) <= _MAX_PX:
            raise SourceError(
                f"A browser camera sent a picture of {size[0]} x {size[1]} pixels.",
                f"{_MAX_PX} x {_MAX_PX} is the limit.",
            )

        # A page that sends 200 pictures a second is thinned before anything is decoded.
        now = self._clock()
        if now - self._last_s < 0.8 / _MAX_FPS:
            self.dropped += 1
            return
        self._last_s = now
        (stamp_s,) = _HEAD.unpack_from(message)
        if not np.isfinite(stamp_s):
            raise SourceError("A browser camera sent a picture without a time.")
        self._offer((stamp_s, now, message[_HEAD.size :]))

    def end(self) -> None:
        """End the camera; `frames` returns after the pictures that wait."""
        self._offer(None)

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures until the page has gone."""
        while (item := self._queue.get()) is not None:
            stamp_s, arrival, data = item
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if image is None:  # a damaged picture: the next one may be whole
                continue
            rgb: NDArray[np.uint8] = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(stamp_s=stamp_s, arrival=arrival, image=rgb)

    def _offer(self, item: tuple[float, float, bytes] | None) -> None:
        """Enqueue an item in place of the oldest one when the queue is full."""
        if self._queue.full():
            with suppress(queue.Empty):
                self._queue.get_nowait()
        self._queue.put(item)  # only one thread puts, so there is room
