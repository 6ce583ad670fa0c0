"""A window on the screen with all cameras beside each other (`--show`)."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.records import Record
from gasmcast.runtime.sinks.draw import Overlay

__all__ = ["WindowSink", "mosaic"]

_TITLE = "gasmcast (q: quit)"
_WIDTH, _HEIGHT = 1280, 720


class WindowSink:
    """Keeps the newest picture of each camera; `pump`, called by the main thread, shows them.

    Needs no queue: taking a picture is storing a reference, and screens want the newest only.

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
        # Qt ends the whole process when a display is named but not there: let it end another one.
        probe = [
            sys.executable,
            "-c",
            "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()",
        ]
        try:
            opened = (
                subprocess.run(probe, capture_output=True, timeout=20, check=False).returncode == 0
            )
        except subprocess.TimeoutExpired:
            opened = False
        if not opened:
            raise MachineError(
                "--show cannot open a window here.",
                "Check DISPLAY, or install opencv-python in place of -headless.",
            )
        self._lock = threading.Lock()
        self._pictures: dict[str, tuple[float, NDArray[np.uint8]]] = {}
        self._overlays: dict[str, Overlay] = {}
        self._changed = True
        self._closed = False

    def write(self, record: Record) -> None:
        """Remember what to draw."""
        with self._lock:
            self._overlays.setdefault(record.camera, Overlay()).take(record)
            self._changed = True

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """The newest picture of a camera."""
        with self._lock:
            self._pictures[camera] = (time_s, image)
            self._changed = True

    def pump(self, wait_ms: int = 20) -> bool:
        """Show what is newest and look at the keys, on the main thread; False when the user wants to quit."""
        with self._lock:
            pictures = dict(self._pictures) if self._changed else {}
            self._changed = False
            drawn = [
                self._overlays.setdefault(name, Overlay()).draw(image, time_s)
                for name, (time_s, image) in pictures.items()
            ]
        if self._closed:
            return False
        if drawn:
            cv2.imshow(_TITLE, cv2.cvtColor(mosaic(drawn), cv2.COLOR_RGB2BGR))
        return cv2.waitKey(wait_ms) & 0xFF not in (ord("q"), 27)

    def close(self) -> None:
        """Close the window."""
        self._closed = True
        cv2.destroyAllWindows()


def mosaic(
    pictures: list[NDArray[np.uint8]], width: int = _WIDTH, height: int = _HEIGHT
) -> NDArray[np.uint8]:
    """Pictures `(h, w, 3)` of any sizes beside each other, each as large as fits, on `(height, width, 3)`; one picture keeps its size."""
    if len(pictures) == 1 and pictures[0].shape[0] <= height and pictures[0].shape[1] <= width:
        return pictures[0]
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    cell_w, cell_h = width // columns, height // rows
    canvas = np.zeros((height, width, 3), np.uint8)
    for number, picture in enumerate(pictures):
        share = min(cell_w / picture.shape[1], cell_h / picture.shape[0])
        small = cv2.resize(
            picture,
            (max(1, int(picture.shape[1] * share)), max(1, int(picture.shape[0] * share))),
            interpolation=cv2.INTER_AREA,
        )
        top = number // columns * cell_h + (cell_h - small.shape[0]) // 2
        left = number % columns * cell_w + (cell_w - small.shape[1]) // 2
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas
