"""Decode the frames of a video file, count what is damaged, and check that the file is whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import av

from gasmcast.errors import SourceError
from gasmcast.video.packets import credible_fps, stated_length_s

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["DecodeCount", "check_whole", "decoded_frames"]

_log = logging.getLogger(__name__)

_MISSING_SHARE = 0.2  # of the stated length that a whole file may lack
_MISSING_S = 0.5
_UNREPORTED_S = 0.2  # that may be missing at the end without a warning


@dataclass
class DecodeCount:
    """Counts of one pass over a file."""

    frames: int = 0
    packets: int = 0
    damaged: int = 0
    cut: bool = False
    """Whether the last packet of the video is incomplete."""
    end_s: float = 0.0
    """Latest end of a packet of any stream, in seconds after the start of the container."""


def decoded_frames(
    container: InputContainer, stream: VideoStream, name: str, count: DecodeCount
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


def check_whole(
    container: InputContainer, stream: VideoStream, name: str, count: DecodeCount, seen_s: float
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

    stated_s = stated_length_s(container, stream)
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
