"""Pictures of a camera for browsers, encoded once for all who watch it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.web.feed import WebFeed
from gasmcast.runtime.web.small_pictures import jpeg

__all__ = ["BOUNDARY", "Pictures"]

BOUNDARY = "gasmcast-frame"
_FPS = 15.0
_LONGER_PX = 640
_QUALITY = 70


class Pictures:
    """JPEG pictures of the cameras, clean: the page draws labels and maps over them.

    Args:
        feed: gives the newest picture of each camera.
    """

    def __init__(self, feed: WebFeed) -> None:
        self._feed = feed
        self._encoded: dict[str, tuple[NDArray[np.uint8], bytes]] = {}
        self._lock = threading.Lock()

    async def stream(self, camera: str) -> AsyncIterator[bytes]:
        """Yield the parts of a multipart stream (MJPEG) until the client goes.

        A slow client gets fewer pictures: each part is made when the one before was sent. The
        boundary follows its part at once, because browsers show a picture when they have read it.
        """
        yield f"--{BOUNDARY}\r\n".encode()
        with self._feed.watch(camera):
            last: NDArray[np.uint8] | None = None
            due_s = time.monotonic()
            while True:
                picture = self._feed.picture(camera)
                if picture is not None and picture[1] is not last:
                    last = picture[1]
                    data = await asyncio.to_thread(self._encode, camera, last)
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    yield head.encode() + data + f"\r\n--{BOUNDARY}\r\n".encode()
                # Encoding and sending are part of the interval; a late picture moves the next ones.
                due_s = max(due_s + 1 / _FPS, time.monotonic())
                await asyncio.sleep(due_s - time.monotonic())

    async def newest(self, camera: str, wait_s: float = 1.0) -> bytes | None:
        """Return the newest picture of a camera; None if there is none within `wait_s`."""
        with self._feed.watch(camera):
            for _ in range(max(1, round(wait_s * _FPS))):
                picture = self._feed.picture(camera)
                if picture is not None:
                    return await asyncio.to_thread(self._encode, camera, picture[1])
                await asyncio.sleep(1 / _FPS)
        return None

    def _encode(self, camera: str, image: NDArray[np.uint8]) -> bytes:
        """Return an image as JPEG; a second watcher of the same picture gets the same bytes."""
        with self._lock:
            known = self._encoded.get(camera)
        if known is not None and known[0] is image:
            return known[1]
        data = jpeg(image, _LONGER_PX, _QUALITY)
        with self._lock:
            # Browsers that were cameras never come back under the same name.
            if known is None:
                present = self._feed.cameras()
                for name in [name for name in self._encoded if name not in present]:
                    del self._encoded[name]
            self._encoded[camera] = (image, data)
        return data
