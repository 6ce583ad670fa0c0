"""Pieces of a report page: tables, bars as SVG, strips of frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.report import html as markup

__all__ = ["bars", "frame_strip", "table", "thumbnail"]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; a cell that is `True` or `False` becomes ok or fails."""
    return markup.table(head, [[_cell(c) for c in row] for row in rows])


def bars(
    rows: Sequence[tuple[str, float]], unit: str, marks: Sequence[bool] = (), log: bool = False
) -> str:
    """Horizontal bars as SVG; marked rows are red. With `log`, lengths go by the logarithm."""
    finite = [v for _, v in rows if np.isfinite(v) and v > 0]
    if not finite:
        return ""
    top, low = max(finite), min(finite)
    height = 20 * len(rows) + 8
    out = [f"<svg viewBox='0 0 760 {height}' width='760' height='{height}' role='img'>"]
    for i, (name, value) in enumerate(rows):
        share = 0.0
        if np.isfinite(value) and value > 0:
            share = (
                (np.log(value / low) + 0.3) / (np.log(top / low) + 0.3)
                if log and top > low
                else value / top
            )
        color = "#b3261e" if i < len(marks) and marks[i] else "#3f6fb5"
        y = 20 * i + 4
        out.append(
            f"<text x='300' y='{y + 12}' text-anchor='end' font-size='12'>{escape(name)}</text>"
            f"<rect x='308' y='{y}' width='{max(1.0, 350 * share):.1f}' height='14' fill='{color}' rx='2'/>"
            f"<text x='{314 + max(1.0, 350 * share):.1f}' y='{y + 12}' font-size='12'>{value:.3g} {escape(unit)}</text>"
        )
    return "".join(out) + "</svg>"


def thumbnail(clip: NDArray[np.uint8]) -> str:
    """Frames over the window side by side."""
    return markup.image(frame_strip(clip, frames=4, side=96), "jpeg", "")


def frame_strip(clip: NDArray[np.uint8], frames: int = 8, side: int = 112) -> bytes:
    """A JPEG of frames evenly spread over the window, side by side, in order.

    Args:
        clip: `(1+S, F, H, W, 3)` uint8 RGB.
        frames: how many.
        side: pixels of each.
    """
    window = clip[1:].reshape(-1, *clip.shape[2:])
    chosen = window[np.linspace(0, len(window) - 1, min(frames, len(window))).round().astype(int)]
    pictures = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in chosen]
    done, content = cv2.imencode(
        ".jpg", cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )
    assert done  # a JPEG of uint8 pixels in memory
    return content.tobytes()


def _cell(value: object) -> str:
    if value is True:
        return "<span class='ok'>ok</span>"
    if value is False:
        return "<span class='bad'>fails</span>"
    return "" if value is None else escape(str(value))
