"""Frames of one camera on their way to views: live at once, of a file after earlier decisions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.records import View

__all__ = ["Preview"]

# Longer side of the images that views get. They wait in memory, here for their decision and then in
# the views' queues, so full resolution would cost too much.
_MAX_PIXELS = 1280


class Preview:
    """Pass a camera's frames to the views.

    Args:
        camera: name of the camera.
        live: pass each frame at once; otherwise it waits until earlier decisions are emitted.
        views: sinks that take images.
        until_s: time up to which a file's frames pass before the first decision, in seconds after
            the first frame.
    """

    def __init__(self, camera: str, live: bool, views: Sequence[View], until_s: float) -> None:
        self._camera = camera
        self._live = live
        self._views = views
        self._until_s = until_s
        self._waiting: deque[tuple[float, NDArray[np.uint8]]] = deque()
        self._lock = threading.Lock()

    def add(self, time_s: float, image: NDArray[np.uint8]) -> None:
        """Take a frame `(H, W, 3)` of the camera's time `time_s`."""
        if not any(_wants(view, self._camera) for view in self._views):
            return

        longer = max(image.shape[:2])
        if longer > _MAX_PIXELS:
            scale = _MAX_PIXELS / longer
            resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            image = np.asarray(resized, np.uint8)

        if self._live:
            self._show(time_s, image)
            return
        with self._lock:
            self._waiting.append((time_s, image))
            self._pass_on()

    def release(self, until_s: float) -> None:
        """Pass on the frames before `until_s`; all decisions up to there have been emitted."""
        with self._lock:
            self._until_s = until_s
            self._pass_on()

    def discard(self) -> None:
        """Drop the waiting frames. Takes no lock, because a view that hangs may hold it."""
        self._waiting = deque()

    def _pass_on(self) -> None:
        # `discard` may replace the deque while a view blocks: read the attribute in every round.
        while (waiting := self._waiting) and waiting[0][0] < self._until_s:
            self._show(*waiting.popleft())

    def _show(self, time_s: float, image: NDArray[np.uint8]) -> None:
        for view in self._views:
            view.frame(self._camera, time_s, image)


def _wants(view: View, camera: str) -> bool:
    """Return whether a view needs the pictures of a camera now; one that cannot say always does."""
    wants = getattr(view, "wants_frame", None)
    return wants is None or wants(camera)
