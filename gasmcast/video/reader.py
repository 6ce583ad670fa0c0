"""Read video files: frames with timestamps, and the length of a file.

Training, evaluation and live recognition of files read through this module, so they see the same
pixels. FFmpeg decodes (PyAV). Rotation and pixel aspect ratio are applied, edit lists are honored,
damaged packets are skipped and counted, and timestamps count from the first frame.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import cv2
import numpy as np

from gasmcast.video.container import open_file, printable
from gasmcast.video.decoder import DecodeCount, check_whole, decoded_frames
from gasmcast.video.packets import (
    credible_fps,
    first_time_s,
    packet_times_s,
    shown_packets,
    stated_length_s,
    tick_s,
)
from gasmcast.video.picture import Frame, RgbConverter
from gasmcast.video.stamp_clock import StampClock, UnreliableSeekError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "Frame",
    "FrameTimes",
    "decode",
    "duration_s",
    "read_frames",
]

_log = logging.getLogger(__name__)

_FAR = 2**50  # later than the end of any file, in ticks of any time base
_SEEKABLE = ("mov", "matroska")  # containers whose index and timestamps can be trusted


class FrameTimes(NamedTuple):
    """Times around one frame of a file, in seconds after the first frame."""

    previous_s: float
    """Timestamp of the frame before; -inf for the first one."""
    stamp_s: float
    """Timestamp of the frame."""
    next_s: float
    """Expected timestamp of the next frame."""
    end_s: float
    """End of the video as the header states it; 0 if it states none."""


def read_frames(path: str | Path, threads: int | None = None) -> Iterator[tuple[float, Frame]]:
    """Yield every frame of a video file in order.

    Args:
        path: a local file of any container and codec that FFmpeg reads.
        threads: decoder threads; None lets FFmpeg choose.

    Yields:
        `(stamp_s, frame)`: seconds after the first frame, strictly ascending, and `(H, W, 3)` uint8
        RGB as it is meant to be shown. Where a video changes its size, later frames get the size
        of the first one.

    Raises:
        SourceError: the file is missing, empty, encrypted, has no video stream or no frame that
            can be decoded, or ends well before its stated length (raised after its last frame).

    Example:
        >>> for stamp_s, frame in read_frames("clip.mp4"):
        ...     print(f"{stamp_s:.3f} s, {frame.shape}")
    """
    for stamp, picture in decode(path, threads):
        assert picture is not None  # every frame is wanted
        yield stamp, picture


def decode(
    path: str | Path,
    threads: int | None,
    wanted: Callable[[FrameTimes], bool] | None = None,
    from_s: float = 0.0,
) -> Iterator[tuple[float, Frame | None]]:
    """Yield timestamps and pictures of a video file; None for pictures that are not wanted.

    Converting a frame to RGB is about half of the work, and `wanted` avoids it.

    Args:
        path: a local file.
        threads: decoder threads; None lets FFmpeg choose.
        wanted: returns whether the picture of a frame is needed; None: all are.
        from_s: begin at the last key frame that is not after this time; 0: at the first frame.

    Raises:
        SourceError: as `read_frames`.
        UnreliableSeekError: the file cannot be entered at `from_s`; read it from the start.
    """
    with open_file(path, threads) as (container, stream):
        name = printable(path)
        count = DecodeCount()
        clock = StampClock(1.0 / credible_fps(stream))
        end_s = stated_length_s(container, stream)
        convert = RgbConverter()
        size: tuple[int, int] | None = None
        if from_s:
            _seek(container, stream, name, clock, from_s)

        is_first = bool(from_s)
        for frame in decoded_frames(container, stream, name, count):
            # Pictures before the key frame refer to ones that were not read.
            if is_first and not frame.key_frame:
                continue
            before_s = clock.last_s
            stamp = clock.stamp(frame)
            if is_first and stamp > from_s:
                raise UnreliableSeekError(f"{name}: no key frame before {from_s} s")
            is_first = False
            times = FrameTimes(before_s, stamp, stamp + clock.pace_s, end_s)
            picture = None
            if wanted is None or wanted(times):
                picture = _in_size(convert(frame, stream.sample_aspect_ratio), size)
                size = picture.shape[:2]
            yield stamp, picture

        if not from_s:
            check_whole(container, stream, name, count, clock.last_s + clock.pace_s)


def _seek(
    container: InputContainer, stream: VideoStream, name: str, clock: StampClock, from_s: float
) -> None:
    """Jump to the last key frame before a time; the clock keeps counting from the first frame.

    Raises:
        UnreliableSeekError: the container has no index that can be trusted, or nothing to decode.
    """
    if not container.format.name.startswith(_SEEKABLE):
        raise UnreliableSeekError(f"{name}: a container without index")

    # The first frame is decoded for its time, which all others count from.
    first = next(decoded_frames(container, stream, name, DecodeCount()), None)
    if first is None:
        raise UnreliableSeekError(f"{name}: no first frame")
    clock.stamp(first)
    target = int((clock.origin_s + from_s) / tick_s(stream))
    try:
        container.seek(target, stream=stream, backward=True)
    except av.FFmpegError as error:
        raise UnreliableSeekError(f"{name}: {error}") from None
    clock.jump()


def duration_s(path: str | Path) -> float:
    """Return the length of a video in seconds: the time of its last frame plus one frame.

    The length comes from the packets at the end of the file, because headers may be wrong (variable
    frame rate) or silent (recordings of a browser). Nothing is decoded.

    Raises:
        SourceError: the file is missing, empty, encrypted or has no video stream.
    """
    with open_file(path, threads=1) as (container, stream):
        step_s = 1.0 / credible_fps(stream)
        start_s = first_time_s(container, stream)

        # Jump to the last key frame; without an index this may fail, and the file is read whole.
        with suppress(av.FFmpegError):
            container.seek(_FAR, stream=stream, backward=True)
        times = packet_times_s(container, stream)
    if times:
        return max(0.0, max(times) - start_s + step_s)

    with open_file(path, threads=1) as (container, stream):
        packets = [packet.pts for packet in shown_packets(container, stream)]
        times = [float(pts * tick_s(stream)) for pts in packets if pts is not None]
    if times:
        return max(0.0, max(times) - start_s + step_s)
    # A raw stream has no times: its frames follow one another at the stated rate.
    return len(packets) * step_s


def _in_size(picture: Frame, size: tuple[int, int] | None) -> Frame:
    """Return a picture in the size (height, width) of the first one."""
    if size is None or picture.shape[:2] == size:
        return picture
    height, width = size
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
