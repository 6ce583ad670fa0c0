"""The figures of an evaluation in one record, from logits and labels alone."""

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

__all__ = ["ClassScore", "Confused", "Scores", "judge"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassScore:
    """One class of the set."""

    name: str
    clips: int
    accuracy: float
    mistaken_for: str
    """The class it is most often taken for; empty when it never is."""


@dataclass(frozen=True)
class Confused:
    """Two classes and how often one is taken for the other, both ways together."""

    first: str
    second: str
    first_as_second: int
    second_as_first: int
    share: float
    """Of the clips of both classes."""


@dataclass(frozen=True)
class Scores:
    """Shares are 0..1, intervals the 95 % bootstrap over clips."""

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
    """Fitted on these clips."""
    ece_calibrated: float
    """With temperatures that were fitted on the other half of the clips."""
    chance: float
    """Top-1 of always naming the most frequent class."""
    classes: tuple[ClassScore, ...]
    confused: tuple[Confused, ...]
    """The 20 most confused pairs, by clips."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def judge(
    logits: NDArray[np.floating], labels: NDArray[np.integer], names: Sequence[str]
) -> Scores:
    """All figures of `(N, classes)` logits.

    Args:
        logits: one row a clip.
        labels: `(N,)`.
        names: of the classes.
    """
    first, fifth = hits(logits, labels), hits(logits, labels, min(5, logits.shape[1]))
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
    """ECE of each half of the clips at the temperature of the other: on the fitted clips themselves it would flatter."""
    half = np.random.default_rng(0).permutation(len(labels)) % 2 == 0
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
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    rows = []
    for i, name in enumerate(names):
        if clips[i]:
            other = names[int(wrong[i].argmax())] if wrong[i].any() else ""
            rows.append(ClassScore(name, int(clips[i]), float(accuracy[i]), other))
    return tuple(rows)


def confused_pairs(
    counts: NDArray[np.int64], names: Sequence[str], most: int = 20
) -> tuple[Confused, ...]:
    """The pairs of classes that are most often taken for each other.

    Args:
        counts: `(C, C)`, row the true class.
        names: of the classes.
        most: how many at most.
    """
    mutual = np.triu(counts + counts.T, 1)
    clips = counts.sum(1)
    order = np.argsort(-mutual, axis=None, kind="stable")[:most]
    pairs = []
    for i, j in zip(*np.unravel_index(order, mutual.shape), strict=True):
        if mutual[i, j]:
            share = float(mutual[i, j] / max(1, clips[i] + clips[j]))
            pairs.append(Confused(names[i], names[j], int(counts[i, j]), int(counts[j, i]), share))
    return tuple(pairs)
