"""Times of a video file as its header and its packets state them; nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "credible_fps",
    "first_time_s",
    "packet_times_s",
    "shown_packets",
    "stated_length_s",
    "tick_s",
]

_GUESSED_FPS = 30.0  # where a file states no credible rate and has no usable timestamps


def packet_times_s(
    container: InputContainer, stream: VideoStream, limit: int | None = None
) -> list[float]:
    """Return the presentation times in seconds of packets, from the current position on."""
    times: list[float] = []
    for packet in shown_packets(container, stream):
        if packet.pts is not None:
            times.append(float(packet.pts * tick_s(stream)))
        if limit is not None and len(times) >= limit:
            break
    return times


def shown_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Yield the packets of the stream that are shown, from the current position on."""
    # Where the file is damaged, what was read before counts.
    with suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                yield packet


def first_time_s(container: InputContainer, stream: VideoStream) -> float:
    """Return the time of the first frame; packets come in decoding order, so several are read."""
    if stream.start_time is not None:
        return float(stream.start_time * tick_s(stream))
    return min(packet_times_s(container, stream, limit=16), default=0.0)


def tick_s(stream: VideoStream) -> Fraction:
    """Return the unit of the timestamps of a stream."""
    return stream.time_base or Fraction(1, av.time_base)


def credible_fps(stream: VideoStream) -> float:
    """Return the stated frame rate, or a guess where it is missing or absurd."""
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else 0.0
    return fps if 0.5 <= fps <= 480 else _GUESSED_FPS


def stated_length_s(container: InputContainer, stream: VideoStream) -> float:
    """Return the length that the header states for the video, or 0 where it states none."""
    if stream.duration is not None:
        return float(stream.duration * tick_s(stream))
    return container.duration / av.time_base if container.duration else 0.0
