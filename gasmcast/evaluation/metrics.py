"""Figures from logits and labels: accuracies, their intervals, calibration. NumPy only, so that a bundle is judged without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "bootstrap_interval",
    "class_accuracy",
    "confusion",
    "ece",
    "fit_temperature",
    "hits",
    "log_softmax",
    "mean_class",
    "mean_class_interval",
    "reliability",
    "top_k",
]

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
RESAMPLES = 1000


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """`(N, C)` logits -> `(N, C)` log-probabilities, in float64."""
    shifted = np.asarray(logits, np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def hits(logits: Floats, labels: Ints, k: int = 1) -> NDArray[np.bool_]:
    """`(N,)`: whether the label is among the `k` largest logits.

    Ties go against the label (a constant output must not score), so a row counts only if fewer than `k` others are as large.
    A row with a value that is not finite never hits.
    """
    own = logits[np.arange(len(labels)), labels]
    others_as_large = (logits >= own[:, None]).sum(-1) - 1
    finite = np.isfinite(logits).all(-1)
    return np.asarray((others_as_large < k) & finite)


def top_k(logits: Floats, labels: Ints, k: int = 1) -> float:
    """Share of clips whose label is among the `k` largest logits; with `k` classes or fewer it is 1."""
    return float(hits(logits, labels, min(k, logits.shape[1])).mean()) if len(labels) else 0.0


def class_accuracy(
    correct: NDArray[np.bool_], labels: Ints, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Accuracy of each class, `nan` where the class has no clip, and how many clips it has; both `(classes,)`."""
    counts = np.bincount(labels, minlength=classes)
    right = np.bincount(labels, weights=correct, minlength=classes)
    with np.errstate(invalid="ignore"):
        return right / counts, counts


def mean_class(logits: Floats, labels: Ints) -> float:
    """Mean over the classes that occur of each one's accuracy: what imbalance cannot flatter."""
    accuracy, _ = class_accuracy(hits(logits, labels), labels, logits.shape[1])
    return float(np.nanmean(accuracy)) if len(labels) else 0.0


def bootstrap_interval(
    values: NDArray[np.generic], seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `(N,)` per-clip values (Efron & Tibshirani 1993)."""
    sample = np.asarray(values, np.float64)
    if len(sample) == 0:
        return 0.0, 0.0
    rng = np.random.default_rng(seed)
    means = np.array(
        [sample[rng.integers(0, len(sample), len(sample))].mean() for _ in range(resamples)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_class_interval(
    correct: NDArray[np.bool_],
    labels: Ints,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Interval of the mean-class accuracy, clips resampled within each class.

    A resampled class accuracy of n clips, of which a share p is right, is Binomial(n, p) / n: drawn directly.
    """
    if len(labels) == 0:
        return 0.0, 0.0
    accuracy, counts = class_accuracy(correct, labels, int(labels.max()) + 1)
    seen = counts > 0
    draws = (
        np.random.default_rng(seed).binomial(
            counts[seen], accuracy[seen], (resamples, int(seen.sum()))
        )
        / counts[seen]
    )
    low, high = np.quantile(draws.mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def confusion(logits: Floats, labels: Ints) -> NDArray[np.int64]:
    """`(C, C)` counts: row the true class, column the predicted one."""
    classes = logits.shape[1]
    flat = np.asarray(labels, np.int64) * classes + logits.argmax(-1)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def reliability(
    logits: Floats, labels: Ints, temperature: float = 1.0, bins: int = 15
) -> NDArray[np.float64]:
    """`(bins, 3)`: mean confidence, accuracy and share of clips in equal bins of the top-1 probability; zeros in an empty bin."""
    confidence = np.exp(log_softmax(np.asarray(logits, np.float64) / temperature)).max(-1)
    correct = logits.argmax(-1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins).astype(np.float64)
    safe = np.maximum(count, 1)
    return np.stack(
        [
            np.bincount(place, confidence, bins) / safe,
            np.bincount(place, correct, bins) / safe,
            count / max(len(labels), 1),
        ],
        axis=1,
    )


def ece(logits: Floats, labels: Ints, temperature: float = 1.0, bins: int = 15) -> float:
    """Expected calibration error of the top-1 probability (Naeini et al. 2015; Guo et al. 2017), equal-width bins."""
    table = reliability(logits, labels, temperature, bins)
    return float((np.abs(table[:, 0] - table[:, 1]) * table[:, 2]).sum())


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature that minimizes the negative log-likelihood of `logits / temperature` (Guo et al. 2017).

    The loss is convex in 1 / temperature, so golden-section search on its logarithm finds the minimum; it is kept in [0.05, 20], which
    a set without a single error (whose optimum is 0) would leave.
    """
    if len(labels) == 0:
        return 1.0
    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        return float(
            -log_softmax(np.asarray(logits, np.float64) / np.exp(log_t))[rows, labels].mean()
        )

    low, high = float(np.log(0.05)), float(np.log(20.0))
    ratio = (np.sqrt(5.0) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    for _ in range(60):
        if loss_left < loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - ratio * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + ratio * (high - low)
            loss_right = loss(right)
    return float(np.exp((low + high) / 2))
