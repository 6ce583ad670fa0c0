"""Open a video file with FFmpeg (PyAV), and choose the stream that holds the video."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from gasmcast.errors import SourceError
from gasmcast.video.picture import MAX_PIXELS

__all__ = ["main_video_stream", "open_file", "printable"]

# FFmpeg refuses larger pictures before it allocates memory for them.
_DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}
# FFmpeg must not follow a playlist inside a file to the network. It applies the options of decoders
# too, because it decodes some frames to learn the format.
_FILE_OPTIONS = {"protocol_whitelist": "file", **_DECODER_OPTIONS}


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
            container = av.open(_location(file, stack), options=dict(_FILE_OPTIONS))
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

        stream.codec_context.options = dict(_DECODER_OPTIONS)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads or 0
        yield container, stream


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
