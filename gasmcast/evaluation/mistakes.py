"""Find the mistakes of a model: worst clips, examples of confusions, accuracy by a quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import bootstrap_interval, log_softmax

__all__ = ["Bin", "Mistake", "by_quantity", "examples_of", "motion_amount", "worst_clips"]


@dataclass(frozen=True)
class Mistake:
    """Clip that was given a wrong class."""

    index: int
    """Row of the logits."""
    true: str
    """Name of its class."""
    predicted: str
    """Name of the class it was given."""
    probability: float
    """Probability of the predicted class."""
    true_probability: float
    """Probability of its class."""
    loss: float
    """Negative log-likelihood of its class."""


@dataclass(frozen=True)
class Bin:
    """Accuracy of the clips whose quantity lies in [low, high]."""

    low: float
    high: float
    clips: int
    top1: float
    """Share 0..1 of correct clips."""
    interval: tuple[float, float]
    """95 % bootstrap interval of `top1`."""


def _mistake(
    logits: NDArray[np.floating], labels: NDArray[np.integer], names: Sequence[str], index: int
) -> Mistake:
    # Log-probabilities in float64 stay exact for mistakes of very small probability.
    row = log_softmax(logits[index : index + 1])[0]
    predicted, true = int(row.argmax()), int(labels[index])
    return Mistake(
        index=index,
        true=names[true],
        predicted=names[predicted],
        probability=float(np.exp(row[predicted])),
        true_probability=float(np.exp(row[true])),
        loss=float(-row[true]),
    )


def worst_clips(
    logits: NDArray[np.floating], labels: NDArray[np.integer], names: Sequence[str], most: int = 24
) -> list[Mistake]:
    """Return the misclassified clips of the largest loss, worst first.

    Args:
        logits: `(N, classes)`.
        labels: `(N,)`.
        names: class names.
        most: maximum number of clips.
    """
    losses = -log_softmax(logits)[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(logits.argmax(-1) != labels)
    # A stable sort keeps the page the same for equal losses.
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
    """Return clips of one class that were given a certain other, most confident first.

    Args:
        logits: `(N, classes)`.
        labels: `(N,)`.
        names: class names.
        true: name of the class of the clips.
        predicted: name of the class they were given.
        most: maximum number of clips.
    """
    rows = np.flatnonzero(
        (labels == names.index(true)) & (logits.argmax(-1) == names.index(predicted))
    )
    mistakes = [_mistake(logits, labels, names, int(i)) for i in rows]
    return sorted(mistakes, key=lambda mistake: -mistake.probability)[:most]


def by_quantity(
    values: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = 5
) -> list[Bin]:
    """Return the accuracy in bins of equally many clips, by increasing quantity.

    There are fewer bins if many clips share a value.

    Args:
        values: `(N,)` quantity of each clip, such as its length.
        correct: `(N,)`, whether each clip was classified correctly.
        bins: number of bins.
    """
    # Equal quantiles (many clips of one length) would make empty bins.
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if len(edges) < 2:
        return [_bin(float(values.min()), float(values.max()), correct)]

    # The largest value belongs to the last bin, not to one of its own.
    place = np.searchsorted(edges, values, side="right").clip(1, len(edges) - 1) - 1
    rows = []
    for i in range(len(edges) - 1):
        inside = correct[place == i]
        if len(inside):
            rows.append(_bin(float(edges[i]), float(edges[i + 1]), inside))
    return rows


def _bin(low: float, high: float, correct: NDArray[np.bool_]) -> Bin:
    return Bin(
        low=low,
        high=high,
        clips=len(correct),
        top1=float(correct.mean()),
        interval=bootstrap_interval(correct),
    )


def motion_amount(clips: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the amount of motion in each clip, 0..255.

    It is the mean absolute difference of successive frames of the window. Frames are averaged over
    4 x 4 pixels first, so that noise counts little.

    Args:
        clips: `(B, 1+S, F, H, W, 3)`.

    Returns:
        `(B,)`.
    """
    b, s1, f, h, w, _ = clips.shape
    # The lead-in repeats a frame at the start of a video and would dilute the motion.
    blocks = clips[:, 1:].reshape(b, (s1 - 1) * f, h // 4, 4, w // 4, 4, 3)
    gray = blocks.mean((3, 5, 6))  # (B, S * F, H / 4, W / 4)
    return np.asarray(np.abs(np.diff(gray, axis=1)).mean((1, 2, 3)), np.float64)
