"""Choose the decisions and frames that show best what a demo recognized."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.video.reader import read_frames

__all__ = ["choose_decisions", "choose_strip", "confidence", "read_windows"]

Decision = dict[str, Any]

SPAN = 0.35
"""Part of the window that a strip covers; a repeated action rarely restarts within it."""


def confidence(decision: Decision) -> float:
    """Return the probability of the best class of a decision record."""
    return float(decision["top"][0][1])


def choose_decisions(decisions: Sequence[Decision], count: int = 4) -> list[Decision]:
    """Return the most confident decision of each recognized action, the `count` best by time."""
    best: dict[str, Decision] = {}
    for decision in decisions:
        label = decision["label"]
        # Without an action there is nothing to show; a moving camera hides what moves.
        if decision["label_id"] < 0 or "camera" in label:
            continue
        if label not in best or confidence(decision) > confidence(best[label]):
            best[label] = decision
    chosen = sorted(best.values(), key=confidence, reverse=True)[:count]
    return sorted(chosen, key=lambda decision: float(decision["window"][1]))


def choose_strip(window: list[NDArray[np.uint8]], count: int = 3) -> list[NDArray[np.uint8]]:
    """Return `count` frames from the part of a window in which the object stays in sight.

    The actions of the synthetic video repeat. Where one restarts, the object is out of sight; a
    strip across that moment would show the opposite motion.
    """
    if len(window) <= count:
        return window
    # What differs from the median picture of the window is the object.
    stack = np.stack([frame.mean(axis=2) for frame in window])  # (T, H, W)
    visible = np.abs(stack - np.median(stack, axis=0)).mean(axis=(1, 2))

    length = max(count, round(SPAN * len(window)))
    starts = range(len(window) - length + 1)
    begin = max(starts, key=lambda start: float(visible[start : start + length].min()))
    return [window[round(i)] for i in np.linspace(begin, begin + length - 1, count)]


def read_windows(video: Path, decisions: Sequence[Decision]) -> list[list[NDArray[np.uint8]]]:
    """Return the frames of each decision's window, `(H, W, 3)` RGB; the video is read once."""
    windows: list[list[NDArray[np.uint8]]] = [[] for _ in decisions]
    for stamp_s, frame in read_frames(video):
        for decision, window in zip(decisions, windows, strict=True):
            begin_s, end_s = decision["window"]
            if begin_s <= stamp_s <= end_s:
                window.append(frame)
    return windows
