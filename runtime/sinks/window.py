"""A window on the screen with all cameras side by side (`--show`)."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from copy import copy

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.records import Record
from gasmcast.runtime.sinks.draw import Overlay

__all__ = ["WindowSink", "tiles"]

_TITLE = "gasmcast (q: quit)"
_WIDTH, _HEIGHT = 1280, 720


class WindowSink:
    """Keep the newest picture of each camera; `pump`, called on the main thread, shows them.

    It needs no queue: taking a picture stores a reference, and only the newest is shown.

    Raises:
        MachineError: there is no screen, or this OpenCV has no windows.
    """

    def __init__(self) -> None:
        if sys.platform == "linux" and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            raise MachineError(
                "--show needs a screen, and this session has none (DISPLAY is not set).",
                "Use --save.",
            )
        if not _window_opens():
            raise MachineError(
                "--show cannot open a window here.",
                "Check DISPLAY, or install opencv-python in place of -headless.",
            )

        self._lock = threading.Lock()
        self._pictures: dict[str, tuple[float, NDArray[np.uint8]]] = {}
        self._overlays: dict[str, Overlay] = {}
        self._changed = True
        self._closed = self._shown = False

    def write(self, record: Record) -> None:
        """Store what to draw."""
        with self._lock:
            self._overlays.setdefault(record.camera, Overlay()).take(record)
            self._changed = True

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Store the newest picture `(H, W, 3)` of a camera."""
        with self._lock:
            self._pictures[camera] = (time_s, image)
            self._changed = True

    def pump(self, wait_ms: int = 20) -> bool:
        """Show the newest pictures and read the keyboard, on the main thread.

        Returns:
            False when the user wants to quit.
        """
        with self._lock:
            # Without a change only the keyboard is read.
            pictures = dict(self._pictures) if self._changed else {}
            self._changed = False
            overlays = {name: copy(self._overlays.get(name, Overlay())) for name in pictures}

        # Without the lock: showing a picture takes milliseconds.
        if self._closed:
            return False

        # Black before the first picture: without a window no key can be pressed.
        if pictures:
            cv2.imshow(_TITLE, cv2.cvtColor(tiles(pictures, overlays), cv2.COLOR_RGB2BGR))
        elif not self._shown:
            cv2.imshow(_TITLE, np.zeros((_HEIGHT, _WIDTH, 3), np.uint8))
        self._shown = True
        # OpenCV handles the window's events only inside this call; 27 is Escape.
        return cv2.waitKey(wait_ms) & 0xFF not in (ord("q"), 27)

    def close(self) -> None:
        """Close the window."""
        self._closed = True
        cv2.destroyAllWindows()


def _window_opens() -> bool:
    """Open a window in another process: Qt ends its process if the display does not exist."""
    code = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0


def tiles(
    pictures: Mapping[str, tuple[float, NDArray[np.uint8]]],
    overlays: Mapping[str, Overlay],
    width: int = _WIDTH,
    height: int = _HEIGHT,
) -> NDArray[np.uint8]:
    """Arrange the pictures of all cameras side by side, each with its name and state.

    Labels are drawn after scaling, so that they are sharp at any size of the picture.

    Args:
        pictures: time in seconds and image `(h, w, 3)` of each camera.
        overlays: what to draw on them.
        width: of the result, in pixels.
        height: of the result, in pixels.

    Returns:
        `(height, width, 3)`.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    cell_w, cell_h = width // columns, height // rows

    # Each picture keeps its aspect ratio and is centered in its cell.
    canvas = np.zeros((height, width, 3), np.uint8)
    for number, (camera, (time_s, image)) in enumerate(pictures.items()):
        scale = min(cell_w / image.shape[1], cell_h / image.shape[0])
        size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
        scaled = image
        if scale != 1:
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            scaled = np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)

        name = camera if len(pictures) > 1 else ""
        tile = overlays[camera].draw(scaled, time_s, name)
        top = number // columns * cell_h + (cell_h - tile.shape[0]) // 2
        left = number % columns * cell_w + (cell_w - tile.shape[1]) // 2
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return canvas
