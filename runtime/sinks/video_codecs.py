"""Video encoders of FFmpeg for each kind of file, those that browsers play first."""

from __future__ import annotations

from typing import NamedTuple

import av

__all__ = ["SUFFIXES", "Codec", "find_codec"]


class Codec(NamedTuple):
    """Encoder of FFmpeg with what makes it fast enough to write while recognition runs."""

    name: str
    options: dict[str, str]
    pixels: str = "yuv420p"  # the one that every browser plays


# Two threads: the engine has the other cores.
_X264 = Codec("libx264", {"preset": "veryfast", "crf": "23", "threads": "2", "rc-lookahead": "10"})
_VP9 = Codec(
    "libvpx-vp9",
    {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "33", "b": "0", "threads": "2"},
)
_AV1 = Codec("libsvtav1", {"preset": "12", "crf": "40", "svtav1-params": "lp=2"})
_VP8 = Codec("libvpx", {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "4M"})
_MPEG4 = Codec("mpeg4", {"q": "4"})
_MJPEG = Codec("mjpeg", {"q": "3"}, "yuvj420p")

# The first of them that this FFmpeg has. Browsers play all but the last of .mp4.
_CODECS = {
    ".mp4": (_X264, Codec("libopenh264", {"b": "4M"}), _VP9, _AV1, _MPEG4),
    ".mkv": (_X264, _VP9, _AV1, _MJPEG),
    ".webm": (_VP9, _AV1, _VP8),
    ".avi": (_MJPEG,),
}
SUFFIXES = tuple(_CODECS)
"""Suffixes of video files that can be written."""


def find_codec(suffix: str) -> Codec | None:
    """Return the best encoder for a suffix of `SUFFIXES` that this FFmpeg has; None if it has none.

    The libraries in PyAV's wheels differ by platform and release.
    """
    for codec in _CODECS[suffix]:
        if codec.name in av.codecs_available:
            return codec
    return None
