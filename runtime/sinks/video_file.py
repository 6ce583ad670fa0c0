"""Annotated video of what was seen, one file a camera, under a temporary name until it is whole."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import Record
from gasmcast.runtime.sinks.draw import Overlay
from gasmcast.runtime.sources.options import ffmpeg_options, quiet_ffmpeg

__all__ = ["VideoSink", "film_path"]

_log = logging.getLogger(__name__)

_CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "MJPG", ".webm": "VP80"}
_GUESS = 8  # frames from whose spacing the rate is taken
_SPARE_BYTES = 64_000_000  # a disk is not filled further than this


class VideoSink:
    """Writes `path` for one camera; for several a file each, the camera's name added to the path's (`film_path`).

    A file has one rate and one size: frames are repeated or left out to keep time (at most a second of repeats, so an outage does not
    fill the disk), and pictures of another size are fitted in. When the disk runs full the video is finished there, whole and
    playable, and the run goes on without it. One that the disk refused in another way, and that does not open, keeps its temporary name.

    Raises:
        UsageError: an ending that is none of a video.
        MachineError: the folder cannot be written.
    """

    def __init__(self, path: Path, several: bool = False) -> None:
        if path.suffix.lower() not in _CODECS:
            raise UsageError(
                f"--save {path}: {path.suffix or 'no ending'} is no kind of video.",
                f"End it in {', '.join(_CODECS)}.",
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.stem}.{os.getpid()}.try")
            draft.touch()
            draft.unlink()
        except OSError as error:
            raise MachineError(
                f"{path} cannot be written ({error.strerror}).", "Give --save another path."
            ) from None
        quiet_ffmpeg()
        self._path, self._several = path, several
        self._films: dict[str, _Film] = {}
        self._overlays: dict[str, Overlay] = {}

    def write(self, record: Record) -> None:
        """Remember what to draw."""
        self._overlays.setdefault(record.camera, Overlay()).take(record)

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Draw on a frame and write it; a full disk or a missing codec is logged once, and the camera's further frames are passed over."""
        film = self._films.get(camera)
        if film is None:
            film = self._films[camera] = _Film(
                film_path(self._path, camera, self._several or bool(self._films))
            )
        if film.over:
            return
        try:
            film.add(time_s, self._overlays.setdefault(camera, Overlay()).draw(image, time_s))
        except MachineError as error:
            _log.error("%s", error)

    def close(self) -> None:
        """Finish all files."""
        for film in self._films.values():
            film.finish()


def film_path(path: Path, camera: str, several: bool) -> Path:
    """Where the film of a camera goes."""
    return path.with_name(f"{path.stem}-{camera}{path.suffix}") if several else path


def _opens(film: Path) -> bool:
    with ffmpeg_options("file"):
        capture = cv2.VideoCapture(str(film.absolute()), cv2.CAP_FFMPEG)
    whole = capture.isOpened()
    capture.release()
    return whole


class _Film:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.over = False
        self._path = path
        self._draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._early: list[tuple[float, NDArray[np.uint8]]] = []
        self._fps, self._start, self._count, self._size = 0.0, 0.0, 0, (0, 0)

    def add(self, time_s: float, image: NDArray[np.uint8]) -> None:
        """Raises: MachineError."""
        if self._writer is not None:
            self._write(time_s, image)
            return
        self._early.append((time_s, image))
        if len(self._early) >= _GUESS:
            self._begin()

    def finish(self) -> bool:
        """Give it its name, if it has a frame; False when it did not get it."""
        try:
            if not self.over and self._writer is None and self._early:
                self._begin()
        except MachineError as error:
            _log.warning("%s", error)
        whole = False
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            whole = _opens(self._draft)  # OpenCV does not tell that a write failed
            if whole:
                self._draft.replace(self._path)
            else:
                why = "the disk did not take all of it (it is full, has a quota, or takes no file of that size)"
                _log.error(
                    "%s is not whole: %s. What there is of it is %s.", self._path, why, self._draft
                )
        self.over = True
        return whole

    def _begin(self) -> None:
        steps = np.diff([stamp for stamp, _ in self._early])
        spacing = float(np.median(steps)) if len(steps) else 0.0
        self._fps = float(np.clip(round(1.0 / spacing, 3), 1.0, 120.0)) if spacing > 0 else 25.0
        self._start = self._early[0][0]
        height, width = self._early[0][1].shape[:2]
        self._size = (width - width % 2 or 2, height - height % 2 or 2)  # 4:2:0 has no odd sizes
        code = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
        self._check_space()
        self._writer = cv2.VideoWriter(
            str(self._draft.absolute()), cv2.CAP_FFMPEG, code, self._fps, self._size
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
        assert self._writer is not None
        due = round((time_s - self._start) * self._fps) + 1
        repeats = due - self._count
        if repeats <= 0:
            if repeats < -self._fps:  # time went back: a camera began anew
                self._start = time_s - self._count / self._fps
            return
        most = max(1, round(self._fps))
        if repeats > most:
            self._start += (repeats - most) / self._fps
            repeats = most
        fitted = self._fit(image)
        for _ in range(repeats):
            self._writer.write(fitted)
        if self._count // most != (self._count + repeats) // most:  # once a second of film
            self._check_space()
        self._count += repeats

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        width, height = self._size
        picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if picture.shape[:2] == (height, width):
            return np.asarray(picture, np.uint8)
        share = min(width / picture.shape[1], height / picture.shape[0])
        small = cv2.resize(
            picture, (max(1, int(picture.shape[1] * share)), max(1, int(picture.shape[0] * share)))
        )
        canvas = np.zeros((height, width, 3), np.uint8)
        top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
        return canvas

    def _check_space(self) -> None:
        """OpenCV does not tell that a disk is full, and an MP4 without its end is lost: stop while there is room for it."""
        disk = shutil.disk_usage(self._draft.parent)
        if disk.free > min(_SPARE_BYTES, disk.total // 10):
            return
        if self._writer is None:
            self._give_up()
            what = f"{self._path} was not begun"
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
