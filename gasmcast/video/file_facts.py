"""Facts of a video file from its headers: size, frame rate, codec, length, encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gasmcast.video.container import open_file
from gasmcast.video.packets import credible_fps
from gasmcast.video.reader import duration_s

__all__ = ["FileFacts", "file_facts"]


@dataclass(frozen=True)
class FileFacts:
    """Facts of one video file."""

    width: int
    height: int
    fps: float
    """Frames per second, as the header states them."""
    seconds: float
    """Length of the video in seconds."""
    codec: str
    encoder: str
    """Program that wrote the file, as far as the file says; empty otherwise."""
    size_bytes: int


def file_facts(path: str | Path) -> FileFacts:
    """Return the facts of a video file. Nothing is decoded.

    Raises:
        SourceError: the file is missing, empty, encrypted or has no video stream.
    """
    seconds = duration_s(path)
    with open_file(path, threads=1) as (container, stream):
        names = {**container.metadata, **stream.metadata}
        encoder = next((names[key] for key in names if key.lower() == "encoder"), "")
        return FileFacts(
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            fps=round(credible_fps(stream), 3),
            seconds=seconds,
            codec=stream.codec_context.name,
            encoder=encoder,
            size_bytes=Path(path).stat().st_size,
        )
