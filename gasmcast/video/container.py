"""Open a video file with FFmpeg (PyAV), and choose the stream that holds the video."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from gasmcast.errors import SourceError
from gasmcast.video.picture import MAX_PIXELS

__all__ = ["main_video_stream", "open_container", "open_file", "printable"]

# FFmpeg must not follow a playlist inside a file to the network.
_FILE_OPTIONS = {"protocol_whitelist": "file"}
# FFmpeg decodes some frames to learn the format, with options of their own. PyAV before 18, the
# newest for Python 3.10, crashes when they are given and a stream is found late (MPEG-PS).
_TAKES_PROBING_OPTIONS = int(av.__version__.split(".")[0]) >= 18


@contextmanager
def open_file(
    path: str | Path, threads: int | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Yield the container and the video stream of a file.

    Args:
        path: a local file; its name may hold any bytes.
        threads: decoder threads; None lets FFmpeg choose.

    Raises:
        SourceError: the file is missing, empty, encrypted, or has no video stream.
    """
    file = Path(path)
    name = printable(path)
    if not file.is_file():
        raise SourceError(f"There is no video file {name}.", "Check the path.")
    if file.stat().st_size == 0:
        raise SourceError(f"{name} is empty.", "Copy or record it again.")

    with ExitStack() as stack:
        try:
            container = open_container(_location(file, stack), _FILE_OPTIONS, MAX_PIXELS)
        except (av.FFmpegError, ValueError) as error:
            raise _no_video(file, name) from error

        stack.enter_context(container)
        stream = main_video_stream(container)
        if stream is None:
            raise _no_video(file, name)

        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise SourceError(
                f"{name} has pictures of {width} x {height}.", "Scale it to 8K or less."
            )

        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads or 0
        yield container, stream


def open_container(
    source: str | BinaryIO,
    options: dict[str, str],
    max_pixels: int,
    **settings: Any,  # noqa: ANN401 - passed on as they are
) -> InputContainer:
    """Open a container; FFmpeg allocates no memory for larger pictures while it opens.

    Args:
        source: path, URL or open file.
        options: FFmpeg's options of the container and its protocols.
        max_pixels: largest picture.
        settings: further arguments of `av.open`.

    Raises:
        av.FFmpegError: FFmpeg cannot open it.
    """
    probing = {"max_pixels": str(max_pixels)} if _TAKES_PROBING_OPTIONS else {}
    container: InputContainer = av.open(
        source, "r", options=probing, container_options=dict(options), **settings
    )
    return container


def _location(file: Path, stack: ExitStack) -> str | BinaryIO:
    """Return what FFmpeg opens: the path, or the open file where its name is not UTF-8."""
    # An absolute path starts with a slash, so FFmpeg cannot take it for a protocol.
    path = str(file.absolute())
    try:
        path.encode()
    except UnicodeEncodeError:
        return stack.enter_context(file.open("rb"))
    return path


def main_video_stream(container: InputContainer) -> VideoStream | None:
    """Return the first video stream that is not a cover picture, or None."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and _is_video(stream):
            return stream
    return None


def printable(path: str | Path) -> str:
    r"""Return a path as text that every terminal and JSON can take.

    Bytes of a name that is not UTF-8 become escapes such as `\xe9`.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_video(stream: VideoStream) -> bool:
    """Return whether a stream has moving pictures, not the one picture of a Matroska cover."""
    still = stream.codec_context.name in ("mjpeg", "png", "bmp", "webp", "jpegls", "tiff")
    others = len(stream.container.streams.video) > 1
    return not (still and others)


def _no_video(file: Path, name: str) -> SourceError:
    """Return the error of a file without a readable video stream, with its likely cause."""
    if _is_encrypted(file):
        return SourceError(
            f"{name} is encrypted.", "Give a copy without digital rights management."
        )
    return SourceError(
        f"{name} has no video stream that can be read.",
        "It is audio only, damaged, or not a video.",
    )


def _is_encrypted(file: Path) -> bool:
    """Return whether the start of an MP4 names boxes of common encryption (ISO/IEC 23001-7)."""
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
    return any(box in head for box in (b"encv", b"cenc", b"cbcs", b"pssh"))
