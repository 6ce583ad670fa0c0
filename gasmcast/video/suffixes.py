"""Name endings of video files: what counts as a video in a folder."""

from __future__ import annotations

__all__ = ["VIDEO_SUFFIXES"]

# fmt: off
VIDEO_SUFFIXES = (
    ".264", ".265", ".3gp", ".asf", ".avi", ".dav", ".flv", ".gif", ".h264", ".h265", ".hevc",
    ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
    ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
# fmt: on
"""In lower case. `.264`, `.265` and `.dav` are those of recorders for surveillance cameras."""
