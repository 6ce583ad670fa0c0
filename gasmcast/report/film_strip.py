"""Strips of frames for report pages."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.report.html import data_uri

__all__ = ["encode_strip", "frame_strip", "thumbnail"]


def thumbnail(clip: NDArray[np.uint8]) -> str:
    """Return four frames of the window side by side, as a data URI.

    Args:
        clip: `(1+S, F, H, W, 3)` uint8 RGB.
    """
    return data_uri(frame_strip(clip, frames=4, side=96), "jpeg")


def frame_strip(clip: NDArray[np.uint8], frames: int = 8, side: int = 112) -> bytes:
    """Return a JPEG file of frames spread evenly over the window, side by side in time order.

    Args:
        clip: `(1+S, F, H, W, 3)` uint8 RGB; the lead-in is not shown.
        frames: number of frames.
        side: width and height of each frame in pixels.
    """
    window = clip[1:].reshape(-1, *clip.shape[2:])  # (S * F, H, W, 3)
    # First and last frame are always shown, since they tell most about an action.
    places = np.linspace(0, len(window) - 1, min(frames, len(window))).round().astype(int)
    pictures = [
        cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in window[places]
    ]
    return encode_strip(pictures)


def encode_strip(frames: list[NDArray[np.uint8]]) -> bytes:
    """Return frames of one size side by side as a JPEG file.

    Args:
        frames: `(H, W, 3)` uint8 RGB each.
    """
    strip = cv2.cvtColor(np.hstack(frames), cv2.COLOR_RGB2BGR)
    encoded, content = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert encoded  # a JPEG of uint8 pixels in memory cannot fail
    return content.tobytes()
