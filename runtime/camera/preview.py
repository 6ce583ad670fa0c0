"""The pictures of one camera on their way to the views: a live camera's at once, a file's after the decisions before them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.records import View

__all__ = ["Pictures"]

_MOST_PIXELS = 1280  # the longer side of what views get: pictures wait in memory, here for their decision and in the views' queues


class Pictures:
    """Hands a camera's pictures on.

    Args:
        camera: its name.
        live: at once; else each waits until the decisions before it are told.
        views: who gets them.
        until_s: how far a file's pictures go out before the first decision, seconds after its first frame.
    """

    def __init__(self, camera: str, live: bool, views: Sequence[View], until_s: float) -> None:
        self._camera, self._live, self._views, self._until_s = camera, live, views, until_s
        self._held: deque[tuple[float, NDArray[np.uint8]]] = deque()
        self._lock = threading.Lock()

    def take(self, time_s: float, image: NDArray[np.uint8]) -> None:
        """A picture `(H, W, 3)` of the camera's time `time_s`."""
        if not self._views:
            return
        longer = max(image.shape[:2])
        if longer > _MOST_PIXELS:
            share = _MOST_PIXELS / longer
            image = np.asarray(
                cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8
            )
        if self._live:
            self._show(time_s, image)
            return
        with self._lock:
            self._held.append((time_s, image))
            self._release()

    def shown(self, until_s: float) -> None:
        """All decisions up to `until_s` are told: what waited for them goes out."""
        with self._lock:
            self._until_s = until_s
            self._release()

    def drop(self) -> None:
        """Give up what waits; takes no lock, for a view that hangs may hold it."""
        self._held = deque()

    def _release(self) -> None:
        while (held := self._held) and held[0][0] < self._until_s:
            self._show(*held.popleft())

    def _show(self, time_s: float, image: NDArray[np.uint8]) -> None:
        for view in self._views:
            view.frame(self._camera, time_s, image)
