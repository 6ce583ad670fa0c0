"""Convert decoded frames to RGB pictures as they are meant to be shown."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["MAX_PIXELS", "Frame", "RgbConverter"]

Frame = NDArray[np.uint8]
"""Picture `(H, W, 3)` in RGB."""

MAX_PIXELS = 8192 * 4320
"""Largest picture of a file; a broken or hostile header must not exhaust the memory."""

# From version 17 on PyAV converts with a thread for each core, but readers share the cores.
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
_SANE_ASPECT = (Fraction(1, 4), Fraction(4))


class RgbConverter:
    """Converts the frames of one stream to RGB; keeps what FFmpeg prepares for their format."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._rotation: int | None = None
        self._turns, self._mirrored = 0, False

    def __call__(self, frame: VideoFrame, aspect: Fraction | None = None) -> Frame:
        """Return a frame as `(H, W, 3)` uint8 RGB.

        The display matrix (rotation and mirroring) and the pixel aspect ratio are applied.
        Interlaced frames are woven: both fields stay in the picture, as FFmpeg shows them by
        default.

        Args:
            frame: decoded frame of any pixel format.
            aspect: pixel aspect ratio, width / height; None means square pixels.
        """
        converted = self._reformatter.reformat(frame, format="rgb24", **_ONE_THREAD)
        picture: Frame = np.asarray(converted.to_ndarray(), np.uint8)

        # Square pixels first: the aspect ratio refers to the picture as it is stored.
        if aspect and aspect != 1 and _SANE_ASPECT[0] <= aspect <= _SANE_ASPECT[1]:
            height, width = picture.shape[:2]
            wide = max(1, round(width * aspect))
            picture = np.asarray(cv2.resize(picture, (wide, height), interpolation=cv2.INTER_AREA))

        # The matrix of the whole stream, unless a camera is turned while it records.
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            self._turns, self._mirrored = _orientation(_thumbnail(converted))
        if self._mirrored:
            picture = picture[:, ::-1]
        if self._turns:
            picture = np.rot90(picture, self._turns)
        return np.ascontiguousarray(picture)


def _thumbnail(frame: VideoFrame) -> VideoFrame:
    """Return a tiny copy of a frame, with its side data.

    Once PyAV has been asked for the side data of a frame, frame and side data refer to each other,
    and the picture stays in memory until Python's collector of cycles finds both, which may take
    thousands of frames.
    """
    return VideoReformatter().reformat(frame, 16, 16, format="rgb24", **_ONE_THREAD)


def _orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Return quarter turns (counter-clockwise) and mirroring of the display matrix of a frame.

    The matrix maps stored to shown coordinates (libavutil/display.h): 9 values, 16.16 fixed point.
    """
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know every kind of side data
        return round(frame.rotation / 90) % 4, False
    if data is None:
        return 0, False
    a, b, _, c, d = struct.unpack("<9i", bytes(data)[:36])[:5]
    mirrored = a * d - b * c < 0
    if mirrored:  # undo the horizontal mirroring that comes first
        a, b = -a, -b

    # The matrix rotates clockwise in picture coordinates, whose y axis points down.
    angle = round(np.degrees(np.arctan2(b, a)) / 90) % 4
    return (-angle) % 4, mirrored
