"""Annotation of a frame: the label, the best classes with bars, and the age of the window."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.records import NO_ACTION, Decision, Event, Record

__all__ = ["Overlay", "draw"]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _SOFT, _BAR, _ACTIVE = (255, 255, 255), (190, 190, 190), (70, 150, 240), (60, 200, 110)  # RGB
_ROWS = 3


@dataclass
class Overlay:
    """State of one camera for drawing; receives the records of that camera in order."""

    decision: Decision | None = None
    event: Event | None = None

    def take(self, record: Record) -> None:
        """Store a decision, or an event that starts, continues or has ended."""
        if isinstance(record, Decision):
            self.decision = record
        elif isinstance(record, Event):
            self.event = None if record.phase == "end" else record

    def draw(self, image: NDArray[np.uint8], time_s: float) -> NDArray[np.uint8]:
        """Return a copy of a frame with the state drawn on it."""
        return draw(image, time_s, self.decision, self.event)


def draw(
    image: NDArray[np.uint8], time_s: float, decision: Decision | None, event: Event | None = None
) -> NDArray[np.uint8]:
    """Return a copy of a frame with a panel at the bottom.

    Args:
        image: `(H, W, 3)` RGB, any size.
        time_s: time of the frame, in seconds like the decision's.
        decision: the newest decision; None before the first window is full.
        event: the current event, if any; it draws a green border.

    Returns:
        `(H, W, 3)` RGB.
    """
    # The same frame may go to other sinks.
    out = image.copy()
    height, width = out.shape[:2]
    # Text grows with the picture, but stays legible on small ones.
    scale = max(0.35, min(width / 900.0, height / 500.0))
    line = max(12, int(26 * scale))
    margin = max(4, line // 3)
    rows = min(_ROWS, len(decision.top)) if decision else 0
    panel = min(height, line * (rows + 1) + 3 * margin)

    # A third of the brightness is dark enough for text, and is one pass over the pixels.
    top = height - panel
    out[top:] = out[top:] // 3

    headline = _headline(time_s, decision, event)
    color = _ACTIVE if event else _INK
    _text(out, headline, (margin, top + line), scale, color, room=width - 2 * margin)

    if decision is None:
        return out

    # One row per class: a bar of the probability, then the label.
    for row, (label, p) in enumerate(decision.top[:rows], start=1):
        base = top + line * (row + 1)
        bar = int((width - 2 * margin) * 0.2)
        cv2.rectangle(out, (margin, base - line // 2), (margin + bar, base), (60, 60, 60), -1)
        cv2.rectangle(
            out,
            (margin, base - line // 2),
            (margin + int(bar * p), base),
            _ACTIVE if event else _BAR,
            -1,
        )
        left = margin * 2 + bar
        _text(
            out,
            f"{100 * p:3.0f} %  {label}",
            (left, base),
            scale * 0.8,
            _INK if row == 1 else _SOFT,
            room=width - left - margin,
        )

    _window_bar(out, time_s, decision, margin)
    if event:
        cv2.rectangle(out, (0, 0), (width - 1, height - 1), _ACTIVE, max(2, margin // 2))
    return out


def _headline(time_s: float, decision: Decision | None, event: Event | None) -> str:
    if decision is None:
        return f"{time_s:.1f} s   the first window fills"
    if event:
        return f"{time_s:.1f} s   {event.label}"
    # Without an event the label is only a candidate, so it is in parentheses.
    label = decision.label if decision.label == NO_ACTION else f"({decision.label})"
    return f"{time_s:.1f} s   {label}"


def _window_bar(out: NDArray[np.uint8], time_s: float, decision: Decision, margin: int) -> None:
    """Draw the decision's window at the bottom edge, and in gray the time since then."""
    height, width = out.shape[:2]
    begin, end = decision.window
    span = max(time_s, end) - begin
    if span <= 0:
        return

    window_px = int((width - 2 * margin) * (end - begin) / span)
    y = height - max(2, margin // 2)
    cv2.line(out, (margin, y), (width - margin, y), (90, 90, 90), 2)
    cv2.line(out, (margin, y), (margin + window_px, y), _BAR, 2)


def _text(
    out: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    scale: float,
    color: tuple[int, int, int],
    *,
    room: int,
) -> None:
    """Draw one line of text, shortened with dots if it does not fit.

    Letters that the font lacks become `?`.
    """
    # Hershey fonts have only ASCII letters.
    text = text.encode("ascii", "replace").decode()
    size = 0.8 * scale
    thickness = 1 if scale < 0.9 else 2

    while len(text) > 4 and cv2.getTextSize(text, _FONT, size, thickness)[0][0] > room:
        text = text[:-4].rstrip() + "..."
    cv2.putText(out, text, at, _FONT, size, color, thickness, cv2.LINE_AA)
