"""One annotated video file, written under a temporary name until it is complete."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.sources.options import ffmpeg_options

__all__ = ["CODECS", "VideoWriter"]

_log = logging.getLogger(__name__)

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "MJPG", ".webm": "VP80"}
"""Suffix of a video file -> codec."""

_RATE_FRAMES = 8  # frames whose spacing determines the frame rate
_SPARE_BYTES = 64_000_000  # space that is left free on the disk


class VideoWriter:
    """Write the frames of one camera into a file.

    A file has one rate and one size: frames are repeated or skipped to keep time, and pictures of
    another size are resized to fit.

    Args:
        path: the file; its suffix must be in `CODECS`.
    """

    def __init__(self, path: Path) -> None:
        self.over = False
        """The file is finished or given up; nothing is written any more."""
        self._path = path
        self._draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._early: list[tuple[float, NDArray[np.uint8]]] = []  # until the rate is known
        self._fps, self._start_s = 0.0, 0.0
        self._count, self._size = 0, (0, 0)

    def add(self, time_s: float, image: NDArray[np.uint8]) -> None:
        """Write a frame `(H, W, 3)` RGB.

        Raises:
            MachineError: the disk is full, or OpenCV lacks the codec.
        """
        # The rate is known once enough frames have come.
        if self._writer is not None:
            self._write(time_s, image)
            return
        self._early.append((time_s, image))
        if len(self._early) >= _RATE_FRAMES:
            self._begin()

    def finish(self) -> bool:
        """Complete the file and give it its name; returns False if there is no complete file."""
        # A video shorter than the frames for the rate has not begun yet.
        try:
            if not self.over and self._writer is None and self._early:
                self._begin()
        except MachineError as error:
            _log.warning("%s", error)

        # OpenCV does not report failed writes, so the file is opened to check it.
        complete = False
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            complete = _opens(self._draft)
            if complete:
                self._draft.replace(self._path)
            else:
                _log.error(
                    "%s is not whole: the disk did not take all of it (it is full, has a quota, "
                    "or takes no file of that size). What was written is in %s.",
                    self._path,
                    self._draft,
                )
        self.over = True
        return complete

    def _begin(self) -> None:
        steps = np.diff([time_s for time_s, _ in self._early])
        spacing_s = float(np.median(steps)) if len(steps) else 0.0
        self._fps = 25.0
        if spacing_s > 0:
            self._fps = float(np.clip(round(1.0 / spacing_s, 3), 1.0, 120.0))

        self._start_s = self._early[0][0]
        height, width = self._early[0][1].shape[:2]
        self._size = (width - width % 2 or 2, height - height % 2 or 2)  # 4:2:0 has no odd sizes

        self._check_space()
        codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(
            str(self._draft.absolute()), cv2.CAP_FFMPEG, codec, self._fps, self._size
        )
        if not self._writer.isOpened():
            self._give_up()
            raise MachineError(
                f"This OpenCV cannot write {self._path.suffix} video.",
                "Give --save a path that ends in .avi.",
            )

        early, self._early = self._early, []
        for time_s, image in early:
            self._write(time_s, image)

    def _write(self, time_s: float, image: NDArray[np.uint8]) -> None:
        """Write a frame as often as its time requires."""
        assert self._writer is not None
        # Frame number at this time, so that rounding errors do not add up.
        due = round((time_s - self._start_s) * self._fps) + 1
        repeats = due - self._count
        if repeats <= 0:
            if repeats < -self._fps:  # time went back: the camera started again
                self._start_s = time_s - self._count / self._fps
            return

        # At most a second of repeats, so that an outage does not fill the disk.
        max_repeats = max(1, round(self._fps))
        if repeats > max_repeats:
            self._start_s += (repeats - max_repeats) / self._fps
            repeats = max_repeats
        fitted = self._fit(image)
        for _ in range(repeats):
            self._writer.write(fitted)

        # Once per second of video.
        if self._count // max_repeats != (self._count + repeats) // max_repeats:
            self._check_space()
        self._count += repeats

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture in BGR and the size of the video, with black borders if needed."""
        width, height = self._size
        picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if picture.shape[:2] == (height, width):
            return np.asarray(picture, np.uint8)

        # Keep the aspect ratio.
        scale = min(width / picture.shape[1], height / picture.shape[0])
        size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
        small = cv2.resize(picture, size)

        canvas = np.zeros((height, width, 3), np.uint8)
        top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
        return canvas

    def _check_space(self) -> None:
        """Finish the file while there is room for its end.

        OpenCV does not report a full disk, and an MP4 without its end is lost.

        Raises:
            MachineError: the disk is full.
        """
        disk = shutil.disk_usage(self._draft.parent)
        if disk.free > min(_SPARE_BYTES, disk.total // 10):
            return

        # What exists so far decides what can be kept.
        if self._writer is None:
            self._give_up()
            what = f"{self._path} was not started"
        elif self.finish():
            what = f"{self._path} ends at {self._count / max(self._fps, 1.0):.0f} s"
        else:
            what = f"{self._path} was given up"
        raise MachineError(
            f"{what}: the disk is full.", "Recognition goes on; free space for the next run."
        )

    def _give_up(self) -> None:
        self.over, self._writer, self._early = True, None, []
        self._draft.unlink(missing_ok=True)


def _opens(path: Path) -> bool:
    with ffmpeg_options("file"):
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    opened = capture.isOpened()
    capture.release()
    return opened
