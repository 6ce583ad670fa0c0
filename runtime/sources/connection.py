"""Connections to network cameras with FFmpeg (PyAV), each with its own options and time limits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.capture import MAX_PIXELS, check_size
from gasmcast.runtime.sources.connection_settings import ConnectionSettings, ffmpeg_options
from gasmcast.video.container import main_video_stream, open_container
from gasmcast.video.picture import Frame, RgbConverter

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "FIRST_PICTURE_S",
    "LONGEST_OPEN_S",
    "Connection",
    "NoVideoError",
    "connect",
]

_OPEN_S = 4.0  # limit of each of the two steps of opening: connect, and learn the format

FIRST_PICTURE_S = 20.0
"""Limit until the first picture, while packets come: smart codecs send a key frame every 20 s."""

_ANALYSIS_S = 0.3
_LONG_ANALYSIS_S = 12.0  # where a short analysis finds no video
LONGEST_OPEN_S = 2 * (_OPEN_S + _ANALYSIS_S) + 2 * (_OPEN_S + _LONG_ANALYSIS_S)
"""Longest time that `connect` takes."""

_MAX_UNREADABLE = 250  # packets in a row without a picture before the connection counts as lost


class NoVideoError(Exception):
    """A connection that opened shows no video stream."""


def connect(
    url: str,
    settings: ConnectionSettings,
    read_s: float,
    where: str,
    clock: Callable[[], float] = time.monotonic,
) -> Connection:
    """Open a URL.

    It decodes with one thread: each of FFmpeg's frame threads would hold a frame back, and many
    cameras share the cores in any case.

    Args:
        url: RTSP or HTTP, with its secrets.
        settings: transport, certificates, decoder.
        read_s: longest time without a packet.
        where: the URL without secrets, for errors.
        clock: monotonic seconds.

    Raises:
        av.FFmpegError: FFmpeg cannot open it.
        NoVideoError: there is no video stream.
        SourceError: its pictures are too large.
    """
    started = clock()
    container, stream = _open(url, settings, read_s, analysis_s=_ANALYSIS_S)
    if stream is None:
        # Joined in the middle: the tables that name the streams may come seconds later.
        container, stream = _open(url, settings, read_s, analysis_s=_LONG_ANALYSIS_S)
    if stream is None:
        raise NoVideoError

    codec = stream.codec_context
    try:
        check_size(codec.width, codec.height, where)
    except SourceError:
        container.close()
        raise
    codec.options = {"max_pixels": str(MAX_PIXELS)}
    codec.thread_count = 1
    return Connection(container, stream, where, started + FIRST_PICTURE_S, clock)


def _open(
    url: str, settings: ConnectionSettings, read_s: float, analysis_s: float
) -> tuple[InputContainer, VideoStream | None]:
    """Open a URL; without a video stream the container is closed, and the stream None."""
    hwaccel = None
    if settings.hwaccel:
        names = hwdevices_available()
        if settings.hwaccel not in names:
            raise SourceError(
                f"FFmpeg has no hardware decoder {settings.hwaccel!r}.",
                f"Set hwaccel to one of {', '.join(sorted(names))}, or leave it out.",
            )
        hwaccel = HWAccel(settings.hwaccel, allow_software_fallback=True)

    container = open_container(
        url,
        ffmpeg_options(url, settings, analysis_s),
        MAX_PIXELS,
        timeout=(_OPEN_S + analysis_s, read_s),
        hwaccel=hwaccel,
    )
    stream = main_video_stream(container)
    if stream is None:
        container.close()
    return container, stream


class Connection:
    """An open network stream that delivers decoded pictures.

    Packets that cannot be decoded are skipped and counted. Until the first picture, that is the
    normal case: a stream that is joined in the middle shows nothing before its next key frame.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        where: str,
        first_by: float,
        clock: Callable[[], float],
    ) -> None:
        """Take an open container.

        Args:
            container: closed by `release`.
            stream: its video.
            where: the URL without secrets, for errors.
            first_by: monotonic seconds by which the first picture must be there.
            clock: monotonic seconds.
        """
        self.damaged = 0
        """Packets that could not be decoded since the first picture."""
        self.has_stamps = not (
            stream.codec_context.name == "mjpeg" and container.format.name != "rtsp"
        )
        """False for JPEG over HTTP: FFmpeg numbers its pictures as if there were 25 per second."""
        self._container, self._stream, self._where = container, stream, where
        self._first_by: float | None = first_by
        self._clock = clock
        self._packets: Iterator[Packet] = container.demux()
        self._convert = RgbConverter()
        self._frames: deque[VideoFrame] = deque()
        self._frame: VideoFrame | None = None
        self._unreadable = 0
        self._undecodable = False  # a packet before the first picture could not be decoded

    @property
    def position_s(self) -> float:
        """Timestamp of the last picture in seconds; the time of this machine if it has none."""
        frame = self._frame
        if frame is None or frame.pts is None or frame.time_base is None:
            return self._clock()
        return float(frame.pts * frame.time_base)

    def grab(self) -> bool:
        """Wait for the next picture; returns False when the stream has ended or is silent.

        Raises:
            SourceError: packets come, but no picture.
        """
        self._frame = None
        while not self._frames:
            packet = self._next_packet()
            waits_for_first = self._first_by is not None
            late = waits_for_first and self._clock() > (self._first_by or 0.0)
            if late or (packet is None and waits_for_first and self._undecodable):
                raise SourceError(
                    f"{self._where} sent data, but no picture that can be decoded.",
                    "Check its codec (H.264 is safe), its size (4K or less), and the interval of "
                    "its key frames (20 s at most).",
                )
            if packet is None:
                return False
            self._decode(packet)

        self._first_by = None
        self._frame = self._frames.popleft()
        return True

    def retrieve(self) -> Frame | None:
        """Return the picture that was grabbed as `(H, W, 3)` RGB."""
        if self._frame is None:
            return None
        check_size(self._frame.width, self._frame.height, self._where)
        try:
            return self._convert(self._frame, self._stream.sample_aspect_ratio)
        except (av.FFmpegError, ValueError):  # a pixel format that cannot be converted
            self.damaged += 1
            return None

    def release(self) -> None:
        """Close the connection."""
        self._frames.clear()
        self._frame = None
        with suppress(av.FFmpegError):
            self._container.close()

    def _next_packet(self) -> Packet | None:
        """Return the next packet of any stream; None at the end or after a timeout."""
        for _ in range(_MAX_UNREADABLE):
            try:
                return next(self._packets)
            except av.InvalidDataError:  # noqa: PERF203 - a packet costs far more
                # Garbage between packets: the demuxer can look for the next one.
                self._count_unreadable()
                self._packets = self._container.demux()
            except (StopIteration, av.FFmpegError):
                return None
        return None

    def _decode(self, packet: Packet) -> None:
        """Decode a packet; one that is damaged is counted and skipped."""
        if packet.stream.index != self._stream.index or not packet.size:
            return
        try:
            self._frames.extend(packet.decode())
        except (av.FFmpegError, ValueError):  # the latter before PyAV 17
            self._count_unreadable()
        else:
            if self._frames:
                self._unreadable = 0

    def _count_unreadable(self) -> None:
        if self._first_by is not None:
            self._undecodable = True
            return
        self.damaged += 1
        self._unreadable += 1
        if self._unreadable > _MAX_UNREADABLE:
            raise SourceError(
                f"{self._where} sends pictures that cannot be decoded.",
                "Check its codec (H.264 is safe) and its size (4K or less).",
            )
