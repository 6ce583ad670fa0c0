"""Where a model errs: its worst clips, its confusions with examples, its accuracy by clip length and by motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import bootstrap_interval, log_softmax

__all__ = ["Bin", "Mistake", "by_quantity", "examples_of", "motion_amount", "worst_clips"]


@dataclass(frozen=True)
class Mistake:
    """One clip that was given another class than its own."""

    index: int
    true: str
    predicted: str
    probability: float
    """Of the predicted class."""
    true_probability: float
    loss: float


@dataclass(frozen=True)
class Bin:
    """Accuracy of the clips whose quantity lies in a range."""

    low: float
    high: float
    clips: int
    top1: float
    interval: tuple[float, float]


def _mistake(
    logits: NDArray[np.floating], labels: NDArray[np.integer], names: Sequence[str], index: int
) -> Mistake:
    row = log_softmax(logits[index : index + 1])[0]
    guess, true = int(row.argmax()), int(labels[index])
    return Mistake(
        index,
        names[true],
        names[guess],
        float(np.exp(row[guess])),
        float(np.exp(row[true])),
        float(-row[true]),
    )


def worst_clips(
    logits: NDArray[np.floating], labels: NDArray[np.integer], names: Sequence[str], most: int = 24
) -> list[Mistake]:
    """The clips of the largest loss among those that were given a wrong class."""
    losses = -log_softmax(logits)[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(logits.argmax(-1) != labels)
    order = wrong[np.argsort(-losses[wrong], kind="stable")][:most]
    return [_mistake(logits, labels, names, int(i)) for i in order]


def examples_of(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Sequence[str],
    *,
    true: str,
    predicted: str,
    most: int = 3,
) -> list[Mistake]:
    """Clips of one class that were given a certain other, the surest mistakes first."""
    rows = np.flatnonzero(
        (labels == names.index(true)) & (logits.argmax(-1) == names.index(predicted))
    )
    found = [_mistake(logits, labels, names, int(i)) for i in rows]
    return sorted(found, key=lambda mistake: -mistake.probability)[:most]


def by_quantity(
    values: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = 5
) -> list[Bin]:
    """Accuracy in bins of equally many clips; fewer bins where many clips share a value."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if len(edges) < 2:
        return [
            Bin(
                float(values.min()),
                float(values.max()),
                len(values),
                float(correct.mean()),
                bootstrap_interval(correct),
            )
        ]
    place = np.searchsorted(edges, values, side="right").clip(1, len(edges) - 1) - 1
    rows = []
    for i in range(len(edges) - 1):
        inside = correct[place == i]
        if len(inside):
            rows.append(
                Bin(
                    float(edges[i]),
                    float(edges[i + 1]),
                    len(inside),
                    float(inside.mean()),
                    bootstrap_interval(inside),
                )
            )
    return rows


def motion_amount(clips: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much moves in each clip: mean absolute difference of neighboring frames of the window, 0..255.

    Args:
        clips: `(B, 1+S, F, H, W, 3)`.

    Returns:
        `(B,)`; frames are averaged over 4 x 4 pixels first, so that noise counts little.
    """
    b, s1, f, h, w, _ = clips.shape
    gray = clips[:, 1:].reshape(b, (s1 - 1) * f, h // 4, 4, w // 4, 4, 3).mean((3, 5, 6))
    return np.asarray(np.abs(np.diff(gray, axis=1)).mean((1, 2, 3)), np.float64)
