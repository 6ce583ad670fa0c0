"""Read video files: frames with timestamps, and the length of a file.

Training, evaluation and live recognition of files read through this module, so they see the same
pixels. FFmpeg decodes (PyAV). Rotation and pixel aspect ratio are applied, edit lists are honored,
damaged packets are skipped and counted, and timestamps count from the first frame.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import av
import cv2
import numpy as np

from gasmcast.errors import SourceError
from gasmcast.video.container import open_file, printable
from gasmcast.video.picture import Frame, RgbConverter
from gasmcast.video.stamp_clock import StampClock, UnreliableSeekError

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "Frame",
    "FrameTimes",
    "credible_fps",
    "decode",
    "duration_s",
    "packet_times_s",
    "read_frames",
]

_log = logging.getLogger(__name__)

_GUESSED_FPS = 30.0  # where a file states no credible rate and has no usable timestamps
_MISSING_SHARE = 0.2  # of the stated length that a whole file may lack
_MISSING_S = 0.5
_UNREPORTED_S = 0.2  # that may be missing at the end without a warning
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
        count = _Count()
        clock = StampClock(1.0 / credible_fps(stream))
        end_s = _stated_length_s(container, stream)
        convert = RgbConverter()
        size: tuple[int, int] | None = None
        if from_s:
            _seek(container, stream, name, clock, from_s)

        is_first = bool(from_s)
        for frame in _frames(container, stream, name, count):
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
            _check_whole(container, stream, name, count, clock.last_s + clock.pace_s)


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
    first = next(_frames(container, stream, name, _Count()), None)
    if first is None:
        raise UnreliableSeekError(f"{name}: no first frame")
    clock.stamp(first)
    target = int((clock.origin_s + from_s) / _tick_s(stream))
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
        start_s = _start_s(container, stream)

        # Jump to the last key frame; without an index this may fail, and the file is read whole.
        with suppress(av.FFmpegError):
            container.seek(_FAR, stream=stream, backward=True)
        times = packet_times_s(container, stream)
    if times:
        return max(0.0, max(times) - start_s + step_s)

    with open_file(path, threads=1) as (container, stream):
        packets = [packet.pts for packet in _packets(container, stream)]
        times = [float(pts * _tick_s(stream)) for pts in packets if pts is not None]
    if times:
        return max(0.0, max(times) - start_s + step_s)
    # A raw stream has no times: its frames follow one another at the stated rate.
    return len(packets) * step_s


@dataclass
class _Count:
    """Counts of one pass over a file."""

    frames: int = 0
    packets: int = 0
    damaged: int = 0
    cut: bool = False
    """Whether the last packet of the video is incomplete."""
    end_s: float = 0.0
    """Latest end of a packet of any stream, in seconds after the start of the container."""


def _frames(
    container: InputContainer, stream: VideoStream, name: str, count: _Count
) -> Iterator[VideoFrame]:
    """Yield decoded frames; skip damaged packets, and count them and damaged pictures."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.EOFError):
            break
        except av.FFmpegError as error:  # the container itself is damaged here
            count.damaged += 1
            _log.debug("%s: %s", name, error)
            break

        if packet.pts is not None and packet.time_base is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            count.end_s = max(count.end_s, end)
        if packet.stream.index != stream.index:
            continue

        count.packets += packet.size > 0
        count.cut = packet.is_corrupt if packet.size else count.cut
        try:
            frames = cast("list[VideoFrame]", packet.decode())
        except av.EOFError:
            continue
        except (av.FFmpegError, ValueError) as error:  # the latter before PyAV 17
            count.damaged += 1
            _log.debug("%s: %s", name, error)
            continue
        for frame in frames:
            # FFmpeg conceals what is missing in such a picture; it is shown, and counted.
            count.damaged += frame.is_corrupt
            count.frames += 1
            yield frame


def _in_size(picture: Frame, size: tuple[int, int] | None) -> Frame:
    """Return a picture in the size (height, width) of the first one."""
    if size is None or picture.shape[:2] == size:
        return picture
    height, width = size
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def packet_times_s(
    container: InputContainer, stream: VideoStream, limit: int | None = None
) -> list[float]:
    """Return the presentation times in seconds of packets, from the current position on."""
    times: list[float] = []
    for packet in _packets(container, stream):
        if packet.pts is not None:
            times.append(float(packet.pts * _tick_s(stream)))
        if limit is not None and len(times) >= limit:
            break
    return times


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Yield the packets of the stream that are shown, from the current position on."""
    # Where the file is damaged, what was read before counts.
    with suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                yield packet


def _start_s(container: InputContainer, stream: VideoStream) -> float:
    """Return the time of the first frame; packets come in decoding order, so several are read."""
    if stream.start_time is not None:
        return float(stream.start_time * _tick_s(stream))
    return min(packet_times_s(container, stream, limit=16), default=0.0)


def _tick_s(stream: VideoStream) -> Fraction:
    """Return the unit of the timestamps of a stream."""
    return stream.time_base or Fraction(1, av.time_base)


def credible_fps(stream: VideoStream) -> float:
    """Return the stated frame rate, or a guess where it is missing or absurd."""
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else 0.0
    return fps if 0.5 <= fps <= 480 else _GUESSED_FPS


def _stated_length_s(container: InputContainer, stream: VideoStream) -> float:
    """Return the length that the header states for the video, or 0 where it states none."""
    if stream.duration is not None:
        return float(stream.duration * _tick_s(stream))
    return container.duration / av.time_base if container.duration else 0.0


def _check_whole(
    container: InputContainer, stream: VideoStream, name: str, count: _Count, seen_s: float
) -> None:
    """Raise SourceError for a file without frames, or one that ends far before its stated length.

    A length of the container belongs to its longest stream, so it is compared with the packets of
    all streams: audio may be longer than the video.
    """
    if count.frames == 0:
        if count.packets:
            codec = stream.codec_context.name
            raise SourceError(
                f"No frame of {name} could be decoded (codec {codec}).",
                "It is damaged, larger than 8192 x 4320, or of a codec that FFmpeg lacks.",
            )
        raise SourceError(
            f"{name} holds no video frame.", "It is cut short, or only the head of a stream."
        )

    stated_s = _stated_length_s(container, stream)
    if stream.duration is None:
        start_s = (container.start_time or 0) / av.time_base
        seen_s = max(seen_s, count.end_s - start_s)

    few = stream.frames == 0 or count.packets < (1 - _MISSING_SHARE) * stream.frames
    # FFmpeg shortens the stated length of an AVI to what its index finds, but not the frame count.
    if few and count.cut and stream.frames:
        stated_s = max(stated_s, stream.frames / credible_fps(stream))
    if few and seen_s < (1 - _MISSING_SHARE) * stated_s - _MISSING_S:
        raise SourceError(
            f"{name} is damaged or cut short: {seen_s:.1f} of {stated_s:.1f} s could be decoded.",
            "Copy or record it again.",
        )

    # What is tolerated is reported.
    shown_s = max(seen_s, count.end_s - (container.start_time or 0) / av.time_base)
    if shown_s < stated_s - _UNREPORTED_S:
        _log.warning("%s ends early: at %.1f of %.1f s.", name, shown_s, stated_s)
    if count.damaged:
        _log.warning(
            "%s: %d damaged packets or pictures, %d frames were decoded.",
            name,
            count.damaged,
            count.frames,
        )
