"""Charts of report pages: the geometry of bar charts, and strips of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.report.html import data_uri

__all__ = ["Bar", "BarChart", "bar_chart", "frame_strip", "thumbnail"]

ROW_HEIGHT = 20
LONGEST = 350.0
"""Length of the longest bar in SVG units."""


@dataclass(frozen=True)
class Bar:
    """One bar of a chart, in SVG units."""

    name: str
    text: str
    """Value and unit, written behind the bar."""
    y: int
    """Upper edge."""
    length: float
    marked: bool
    """Whether the bar is highlighted."""


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars; without bars when no value is positive."""

    bars: tuple[Bar, ...]
    height: int


def bar_chart(
    rows: Sequence[tuple[str, float]], unit: str, *, marks: Sequence[bool] = (), log: bool = False
) -> BarChart:
    """Return the geometry of horizontal bars, the first row on top.

    Args:
        rows: name and value of each bar; zero and infinite values get a bar of minimal length.
        unit: written behind each value.
        marks: whether each bar is highlighted; missing entries are not.
        log: make lengths proportional to the logarithm of the values.
    """
    # Lengths are relative to the largest value that has one.
    positive = [value for _, value in rows if np.isfinite(value) and value > 0]
    if not positive:
        return BarChart((), 0)
    high, low = max(positive), min(positive)

    bars = []
    for i, (name, value) in enumerate(rows):
        share = 0.0
        if np.isfinite(value) and value > 0:
            share = value / high
            if log and high > low:
                # The offset keeps the bar of the smallest value visible.
                share = (np.log(value / low) + 0.3) / (np.log(high / low) + 0.3)
        bars.append(
            Bar(
                name=name,
                text=f"{value:.3g} {unit}",
                y=ROW_HEIGHT * i + 4,
                length=max(1.0, LONGEST * share),
                marked=i < len(marks) and marks[i],
            )
        )
    return BarChart(tuple(bars), ROW_HEIGHT * len(rows) + 8)


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

    strip = cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR)
    encoded, content = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert encoded  # a JPEG of uint8 pixels in memory cannot fail
    return content.tobytes()
