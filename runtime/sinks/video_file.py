"""Annotated video, one file per camera."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import Record, Stats
from gasmcast.runtime.sinks.draw import Overlay, enlarge
from gasmcast.runtime.sinks.video_codecs import SUFFIXES
from gasmcast.runtime.sinks.video_writer import VideoWriter

__all__ = ["VideoSink", "video_path"]

_log = logging.getLogger(__name__)
# Letters drawn on fewer pixels are hard to read.
_MIN_WIDTH = 640


class VideoSink:
    """Write `path` for one camera; with several cameras one file each (`video_path`).

    A file is complete when its source has ended, or at the end of the run. A source that comes back
    after that has another file, `out-door-2.mp4`. Pictures are enlarged to a width of at least 640
    pixels before labels are drawn.

    When the disk is full the video ends there, complete and playable, and the run continues without
    it. A file that the disk refused otherwise, and that cannot be played, keeps its temporary name.

    Args:
        path: of the video.
        several: there are several cameras.
        files: names of sources that are files, which do not come back after an error.

    Raises:
        UsageError: a suffix that is not one of a video, or a name that FFmpeg cannot take.
        MachineError: the folder is not writable.
    """

    def __init__(self, path: Path, several: bool = False, files: Collection[str] = ()) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"--save {path}: {path.suffix or 'no ending'} is no kind of video.",
                f"End it in {', '.join(SUFFIXES)}.",
            )
        try:
            # Find out now, not when the first frame comes hours later.
            path.parent.mkdir(parents=True, exist_ok=True)
            probe = path.with_name(f".{path.stem}.{os.getpid()}.try")
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise MachineError(
                f"{path} cannot be written ({error.strerror}).", "Give --save another path."
            ) from None

        self._path, self._several, self._files = path, several, files
        self._writers: dict[str, VideoWriter] = {}
        self._used: set[Path] = set()
        self._overlays: dict[str, Overlay] = {}

    def write(self, record: Record) -> None:
        """Store what to draw; finish the files of sources that have ended."""
        if not isinstance(record, Stats):
            self._overlays.setdefault(record.camera, Overlay()).take(record)
            return

        # A run may have thousands of files, and each open video costs memory and a descriptor.
        for stats in record.cameras:
            is_over = stats.state == "failed" and stats.camera in self._files
            if stats.camera in self._writers and (stats.state == "ended" or is_over):
                self._writers.pop(stats.camera).finish()
                self._overlays.pop(stats.camera, None)

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Draw on a frame and write it.

        A full disk or a missing codec is logged once; further frames of the camera are skipped.
        """
        writer = self._writers.get(camera)
        if writer is None:
            writer = self._writers[camera] = VideoWriter(self._unused_path(camera))
        if writer.over:
            return

        overlay = self._overlays.setdefault(camera, Overlay())
        try:
            writer.add(time_s, overlay.draw(enlarge(image, _MIN_WIDTH), time_s))
        except MachineError as error:
            _log.error("%s", error)

    def close(self) -> None:
        """Finish all files."""
        for writer in self._writers.values():
            writer.finish()

    def _unused_path(self, camera: str) -> Path:
        """Return a path that this run has not written yet."""
        # A camera may join after the start, when the path is already in use.
        path = first = video_path(self._path, camera, self._several or bool(self._used))
        number = 1
        while path in self._used:
            number += 1
            path = first.with_name(f"{first.stem}-{number}{first.suffix}")
        self._used.add(path)
        return path


def video_path(path: Path, camera: str, several: bool) -> Path:
    """Return the path of a camera's video."""
    return path.with_name(f"{path.stem}-{camera}{path.suffix}") if several else path
