"""Annotated video, one file per camera."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import Record
from gasmcast.runtime.sinks.draw import Overlay
from gasmcast.runtime.sinks.video_writer import CODECS, VideoWriter
from gasmcast.runtime.sources.options import quiet_ffmpeg

__all__ = ["VideoSink", "video_path"]

_log = logging.getLogger(__name__)


class VideoSink:
    """Write `path` for one camera; with several cameras one file each (`video_path`).

    When the disk is full the video ends there, complete and playable, and the run continues without
    it. A file that the disk refused otherwise, and that does not open, keeps its temporary name.

    Args:
        path: of the video.
        several: there are several cameras.

    Raises:
        UsageError: a suffix that is not one of a video.
        MachineError: the folder is not writable.
    """

    def __init__(self, path: Path, several: bool = False) -> None:
        if path.suffix.lower() not in CODECS:
            raise UsageError(
                f"--save {path}: {path.suffix or 'no ending'} is no kind of video.",
                f"End it in {', '.join(CODECS)}.",
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

        quiet_ffmpeg()
        self._path, self._several = path, several
        self._writers: dict[str, VideoWriter] = {}
        self._overlays: dict[str, Overlay] = {}

    def write(self, record: Record) -> None:
        """Store what to draw."""
        self._overlays.setdefault(record.camera, Overlay()).take(record)

    def frame(self, camera: str, time_s: float, image: NDArray[np.uint8]) -> None:
        """Draw on a frame and write it.

        A full disk or a missing codec is logged once; further frames of the camera are skipped.
        """
        # A camera may join after the start, when the path is already in use.
        writer = self._writers.get(camera)
        if writer is None:
            path = video_path(self._path, camera, self._several or bool(self._writers))
            writer = self._writers[camera] = VideoWriter(path)
        if writer.over:
            return

        overlay = self._overlays.setdefault(camera, Overlay())
        try:
            writer.add(time_s, overlay.draw(image, time_s))
        except MachineError as error:
            _log.error("%s", error)

    def close(self) -> None:
        """Finish all files."""
        for writer in self._writers.values():
            writer.finish()


def video_path(path: Path, camera: str, several: bool) -> Path:
    """Return the path of a camera's video."""
    return path.with_name(f"{path.stem}-{camera}{path.suffix}") if several else path
