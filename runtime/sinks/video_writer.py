"""One annotated video file, written under a temporary name until it is complete."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.sinks.video_codecs import find_codec

__all__ = ["VideoWriter"]

_log = logging.getLogger(__name__)


_RATE_FRAMES = 8  # frames whose spacing determines the frame rate
_SPARE_BYTES = 64_000_000  # space that is left free on the disk
_ABANDONED_S = 3600.0  # age of a draft that nobody writes any more


class VideoWriter:
    """Write the frames of one camera into a file.

    A file has one rate and one size: frames are repeated or skipped to keep time, and pictures of
    another size are resized to fit.

    Args:
        path: the file; its suffix must be one of `video_codecs.SUFFIXES`.
    """

    def __init__(self, path: Path) -> None:
        self.over = False
        """The file is finished or given up; nothing is written any more."""
        self._path = path
        self._draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        _sweep_drafts(path)
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._early: list[tuple[float, NDArray[np.uint8]]] = []  # until the rate is known
        self._fps, self._rate, self._start_s = 0.0, Fraction(25), 0.0
        self._count, self._size = 0, (0, 0)
        self._unchecked_bytes = self._spare_bytes = 0

    def add(self, time_s: float, image: NDArray[np.uint8]) -> None:
        """Write a frame `(H, W, 3)` RGB.

        Raises:
            MachineError: the disk is full, or FFmpeg lacks the codec.
        """
        # The rate is known once enough frames have come.
        if self._container is not None:
            self._write(time_s, image)
            return
        self._early.append((time_s, image))
        if len(self._early) >= _RATE_FRAMES:
            self._begin()

    def finish(self) -> bool:
        """Complete the file and give it its name; returns False if there is no complete file."""
        # A video shorter than the frames for the rate has not begun yet.
        try:
            if not self.over and self._container is None and self._early:
                self._begin()
        except MachineError as error:
            _log.warning("%s", error)

        complete = False
        if self._container is not None:
            complete = self._complete()
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

    def _complete(self) -> bool:
        """Encode what the encoder holds back and close the file.

        Returns:
            False if the file cannot be played.
        """
        assert self._container is not None
        assert self._stream is not None
        container, self._container = self._container, None
        complete = True
        try:
            container.mux(self._stream.encode(None))
        except (OSError, ValueError):
            complete = False

        # Closing writes the index, without which an MP4 is lost.
        try:
            container.close()
        except (OSError, ValueError):
            complete = False
        # Some containers can be played without their end.
        return complete or _opens(self._draft)

    def _begin(self) -> None:
        steps = np.diff([time_s for time_s, _ in self._early])
        spacing_s = float(np.median(steps)) if len(steps) else 0.0
        self._fps = 25.0
        if spacing_s > 0:
            self._fps = float(np.clip(round(1.0 / spacing_s, 3), 1.0, 120.0))

        self._start_s = self._early[0][0]
        height, width = self._early[0][1].shape[:2]
        self._size = (width - width % 2 or 2, height - height % 2 or 2)  # 4:2:0 has no odd sizes

        # Containers store it as a fraction.
        self._rate = Fraction(self._fps).limit_denominator(1000)
        self._check_space()
        try:
            self._container, self._stream = self._open()
        except (OSError, ValueError) as error:
            self._give_up()
            raise MachineError(
                f"{self._path} cannot be written ({error}).", "Give --save another path."
            ) from None

        early, self._early = self._early, []
        for time_s, image in early:
            self._write(time_s, image)

    def _open(self) -> tuple[OutputContainer, VideoStream]:
        """Open the file with the best codec that this FFmpeg has for its suffix.

        Raises:
            MachineError: FFmpeg has none of them.
        """
        suffix = self._path.suffix.lower()
        codec = find_codec(suffix)
        if codec is None:
            self._give_up()
            raise MachineError(
                f"This FFmpeg cannot write {suffix} video.",
                "Give --save a path that ends in .avi.",
            )

        # With its index in front, a browser plays an MP4 before it has all of it.
        options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
        container = av.open(str(self._draft.absolute()), "w", options=options)
        try:
            stream = container.add_stream(
                codec.name,
                rate=self._rate,
                options=codec.options,
            )
            stream.width, stream.height = self._size
            stream.pix_fmt = codec.pixels
        except BaseException:
            container.close()
            raise
        return container, stream

    def _write(self, time_s: float, image: NDArray[np.uint8]) -> None:
        """Write a frame as often as its time requires."""
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
        try:
            self._encode(self._fit(image), repeats)
        except OSError as error:
            # Full since the last look at the free space; or a quota, or a limit of the file system.
            full = error.errno == errno.ENOSPC
            why = "the disk is full" if full else error.strerror or "unknown error"
            raise self._end_early(why) from None

        # Long before what is left free could be used up.
        self._count += repeats
        if self._unchecked_bytes >= self._spare_bytes // 4:
            self._check_space()

    def _encode(self, image: NDArray[np.uint8], repeats: int) -> None:
        """Encode a picture `repeats` times, `(H, W, 3)` RGB in the size of the video."""
        assert self._container is not None
        assert self._stream is not None
        for number in range(self._count, self._count + repeats):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, 1 / self._rate
            packets = self._stream.encode(frame)
            self._unchecked_bytes += sum(packet.size for packet in packets)
            self._container.mux(packets)

    def _fit(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture in the size of the video, with black borders if needed."""
        width, height = self._size
        if picture.shape[:2] == (height, width):
            return np.ascontiguousarray(picture)

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

        An MP4 without its end, which is written last, is lost.

        Raises:
            MachineError: the disk is full.
        """
        disk = shutil.disk_usage(self._draft.parent)
        self._unchecked_bytes, self._spare_bytes = 0, min(_SPARE_BYTES, disk.total // 10)
        if disk.free <= self._spare_bytes:
            raise self._end_early("the disk is full")

    def _end_early(self, why: str) -> MachineError:
        """Finish the file now and return an error that says what is left of it."""
        # What exists so far decides what can be kept.
        if self._container is None:
            self._give_up()
            what = f"{self._path} was not started"
        elif self.finish():
            what = f"{self._path} ends at {self._count / max(self._fps, 1.0):.0f} s"
        else:
            what = f"{self._path} was given up"
        return MachineError(f"{what}: {why}.", "Recognition goes on; free space for the next run.")

    def _give_up(self) -> None:
        self.over, self._container, self._early = True, None, []
        self._draft.unlink(missing_ok=True)


def _opens(path: Path) -> bool:
    try:
        with av.open(str(path.absolute())) as container:
            return bool(container.streams.video)
    except (OSError, ValueError):
        return False


def _sweep_drafts(path: Path) -> None:
    """Remove drafts of a film that killed runs left.

    The process number alone does not tell: a run in another container has numbers of its own, so a
    draft that was written to in the last hour stays.
    """
    pattern = re.compile(re.escape(f".{path.stem}.") + r"\d+" + re.escape(path.suffix))
    with suppress(OSError):
        for draft in path.parent.iterdir():
            if pattern.fullmatch(draft.name) and time.time() - draft.stat().st_mtime > _ABANDONED_S:
                draft.unlink(missing_ok=True)
