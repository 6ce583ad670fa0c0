"""Summarize logits and labels in one record of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import (
    bootstrap_interval,
    class_accuracy,
    confusion,
    ece,
    fit_temperature,
    hits,
    mean_class,
    mean_class_interval,
)

__all__ = ["ClassScore", "ConfusedPair", "Scores", "score"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class of the set."""

    name: str
    clips: int
    accuracy: float
    """Share 0..1 of the class's clips."""
    mistaken_for: str
    """Class predicted most often in its place; empty when all of its clips are correct."""


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes that are mistaken for each other."""

    first: str
    second: str
    first_as_second: int
    """Clips of the first class that were given the second."""
    second_as_first: int
    """Clips of the second class that were given the first."""
    share: float
    """Both counts as a share of the clips of both classes."""


@dataclass(frozen=True)
class Scores:
    """Scores of a classifier on labeled clips.

    Accuracies are shares 0..1; intervals are 95 % bootstrap intervals over clips.
    """

    clips: int
    top1: float
    top1_interval: Interval
    top5: float
    top5_interval: Interval
    mean_class: float
    mean_class_interval: Interval
    ece: float
    """Expected calibration error of the plain softmax."""
    temperature: float
    """Temperature fitted on these clips."""
    ece_calibrated: float
    """ECE at temperatures fitted on the other half of the clips."""
    chance: float
    """Top-1 of always naming the most frequent class."""
    classes: tuple[ClassScore, ...]
    confused: tuple[ConfusedPair, ...]
    """The 20 most confused pairs, by number of clips."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def score(
    logits: NDArray[np.floating], labels: NDArray[np.integer], names: Sequence[str]
) -> Scores:
    """Return all scores of the logits of a set.

    Args:
        logits: `(N, classes)`.
        labels: `(N,)`.
        names: class names.
    """
    # Hits and confusions are computed once, because several scores need them.
    first = hits(logits, labels)
    fifth = hits(logits, labels, min(5, logits.shape[1]))
    counts = confusion(logits, labels)

    return Scores(
        clips=len(labels),
        top1=float(first.mean()),
        top1_interval=bootstrap_interval(first),
        top5=float(fifth.mean()),
        top5_interval=bootstrap_interval(fifth),
        mean_class=mean_class(logits, labels),
        mean_class_interval=mean_class_interval(first, labels),
        ece=ece(logits, labels),
        temperature=fit_temperature(logits, labels),
        ece_calibrated=_calibrated_ece(logits, labels),
        chance=float(np.bincount(labels).max() / len(labels)),
        classes=_class_scores(first, labels, counts, names),
        confused=confused_pairs(counts, names),
    )


def _calibrated_ece(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the ECE of each half of the clips at the temperature fitted on the other half.

    Measured on the clips it was fitted on, the temperature would look too good.
    """
    half = np.random.default_rng(0).permutation(len(labels)) % 2 == 0
    # The halves are scaled apart and measured together, so that bins keep all clips.
    scaled = np.asarray(logits, np.float64).copy()
    for part in (half, ~half):
        scaled[part] /= fit_temperature(logits[~part], labels[~part])
    return ece(scaled, labels)


def _class_scores(
    correct: NDArray[np.bool_],
    labels: NDArray[np.integer],
    counts: NDArray[np.int64],
    names: Sequence[str],
) -> tuple[ClassScore, ...]:
    accuracy, clips = class_accuracy(correct, labels, len(names))
    # Without the diagonal, the largest entry of a row is the most frequent mistake.
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)

    rows = []
    for i, name in enumerate(names):
        # Classes that the split does not contain have no accuracy.
        if clips[i]:
            other = names[int(wrong[i].argmax())] if wrong[i].any() else ""
            rows.append(ClassScore(name, int(clips[i]), float(accuracy[i]), other))
    return tuple(rows)


def confused_pairs(
    counts: NDArray[np.int64], names: Sequence[str], most: int = 20
) -> tuple[ConfusedPair, ...]:
    """Return the pairs of classes that are most often mistaken for each other.

    Args:
        counts: `(C, C)` confusion matrix; rows are true classes.
        names: class names.
        most: maximum number of pairs.
    """
    # The upper triangle holds each pair once.
    mutual = np.triu(counts + counts.T, 1)
    clips = counts.sum(1)

    # Flat positions of the largest counts; pairs that never occur are dropped below.
    order = np.argsort(-mutual, axis=None, kind="stable")[:most]
    pairs = []
    for i, j in zip(*np.unravel_index(order, mutual.shape), strict=True):
        if mutual[i, j]:
            share = float(mutual[i, j] / max(1, clips[i] + clips[j]))
            pairs.append(
                ConfusedPair(names[i], names[j], int(counts[i, j]), int(counts[j, i]), share)
            )
    return tuple(pairs)
