"""Silence OpenCV's own logging, for webcams and written videos."""

from __future__ import annotations

import os

import cv2

__all__ = ["quiet_ffmpeg"]


def quiet_ffmpeg() -> None:
    """Silence native logging, which prints warnings for cameras that are absent or slow."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # The function has another place in OpenCV 4 and OpenCV 5.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)
