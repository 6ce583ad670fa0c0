"""Metrics of logits and labels: accuracy, confidence intervals, calibration.

NumPy only, so that a bundle is evaluated without torch. Logits are `(N, C)`, labels `(N,)`.
"""

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
"""Bootstrap resamples."""
LEVEL = 0.95
"""Confidence level of all intervals."""
BINS = 15
"""Bins of the reliability diagram."""
_SEED = 0


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Return the log-probabilities of logits, `(N, C)` float64."""
    shifted = np.asarray(logits, np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def hits(logits: Floats, labels: Ints, k: int = 1) -> NDArray[np.bool_]:
    """Return for each row whether its label is among the `k` largest logits, `(N,)`.

    Ties count against the label, so that a constant output scores nothing: a row is a hit only if
    fewer than `k` other logits are at least as large. A row with a value that is not finite is
    never a hit.
    """
    # `>=` counts the label itself too, which is subtracted again.
    label_logits = logits[np.arange(len(labels)), labels]
    others_as_large = (logits >= label_logits[:, None]).sum(-1) - 1
    finite = np.isfinite(logits).all(-1)
    return np.asarray((others_as_large < k) & finite)


def top_k(logits: Floats, labels: Ints, k: int = 1) -> float:
    """Return the share of clips whose label is among the `k` largest logits.

    It is 1 for a set of at most `k` classes.
    """
    return float(hits(logits, labels, min(k, logits.shape[1])).mean()) if len(labels) else 0.0


def class_accuracy(
    correct: NDArray[np.bool_], labels: Ints, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return accuracy and number of clips of each class, both `(classes,)`.

    Args:
        correct: `(N,)`, whether each clip was classified correctly.
        labels: `(N,)`.
        classes: number of classes.

    Returns:
        accuracy, `nan` for a class without clips, and clip count.
    """
    counts = np.bincount(labels, minlength=classes)
    right = np.bincount(labels, weights=correct, minlength=classes)
    # 0 / 0 is the documented `nan` of a class without clips.
    with np.errstate(invalid="ignore"):
        return right / counts, counts


def mean_class(logits: Floats, labels: Ints) -> float:
    """Return the mean accuracy of the classes that occur; unlike top-1, it ignores imbalance."""
    accuracy, _ = class_accuracy(hits(logits, labels), labels, logits.shape[1])
    return float(np.nanmean(accuracy)) if len(labels) else 0.0


def bootstrap_interval(values: NDArray[np.generic]) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of `(N,)` values, one a clip.

    Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993.
    """
    sample = np.asarray(values, np.float64)
    if len(sample) == 0:
        return 0.0, 0.0

    # One resample at a time: all indices at once would need `RESAMPLES x N` integers.
    rng = np.random.default_rng(_SEED)
    means = np.array(
        [sample[rng.integers(0, len(sample), len(sample))].mean() for _ in range(RESAMPLES)]
    )
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_class_interval(correct: NDArray[np.bool_], labels: Ints) -> tuple[float, float]:
    """Return the bootstrap interval of the mean-class accuracy; clips are resampled by class.

    The resampled accuracy of a class with n clips, of which a share p is correct, follows
    Binomial(n, p) / n, which is drawn directly.
    """
    if len(labels) == 0:
        return 0.0, 0.0
    accuracy, counts = class_accuracy(correct, labels, int(labels.max()) + 1)
    # Only classes with clips have an accuracy; their number of clips stays fixed.
    occurs = counts > 0
    counts, accuracy = counts[occurs], accuracy[occurs]

    rng = np.random.default_rng(_SEED)
    draws = rng.binomial(counts, accuracy, (RESAMPLES, len(counts))) / counts
    low, high = np.quantile(draws.mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def confusion(logits: Floats, labels: Ints) -> NDArray[np.int64]:
    """Return the confusion matrix, `(C, C)` counts; rows are true, columns predicted classes."""
    classes = logits.shape[1]
    # Counting flat positions avoids a loop over clips.
    flat = np.asarray(labels, np.int64) * classes + logits.argmax(-1)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def reliability(logits: Floats, labels: Ints, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the reliability diagram of the top-1 probability, in bins of equal width.

    Args:
        logits: `(N, C)`.
        labels: `(N,)`.
        temperature: divides the logits.

    Returns:
        `(BINS, 3)`: mean confidence, accuracy and share of clips; zeros in an empty bin.
    """
    confidence = np.exp(log_softmax(np.asarray(logits, np.float64) / temperature)).max(-1)
    correct = logits.argmax(-1) == labels
    # A confidence of exactly 1 belongs to the last bin.
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)

    # Sums are 0 in an empty bin, so the divisor does not matter there as long as it is not 0.
    count = np.bincount(place, minlength=BINS).astype(np.float64)
    divisor = np.maximum(count, 1)
    mean_confidence = np.bincount(place, confidence, BINS) / divisor
    accuracy = np.bincount(place, correct, BINS) / divisor
    share = count / max(len(labels), 1)
    return np.stack([mean_confidence, accuracy, share], axis=1)


def ece(logits: Floats, labels: Ints, temperature: float = 1.0) -> float:
    """Return the expected calibration error of the top-1 probability, in bins of equal width.

    Sources: M. Naeini et al., AAAI 2015; C. Guo et al., ICML 2017.
    """
    table = reliability(logits, labels, temperature)
    return float((np.abs(table[:, 0] - table[:, 1]) * table[:, 2]).sum())


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """Return the temperature that minimizes the negative log-likelihood of the scaled logits.

    The loss is convex in 1 / temperature, so golden-section search over the logarithm finds the
    minimum. The range is limited to [0.05, 20], because the optimum of a set without a single
    error is 0. Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    if len(labels) == 0:
        return 1.0
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = np.asarray(logits, np.float64) / np.exp(log_temperature)
        return float(-log_softmax(scaled)[rows, labels].mean())

    # Two inner points in golden ratio: each step keeps one of them and its loss.
    low, high = float(np.log(0.05)), float(np.log(20.0))
    ratio = (np.sqrt(5.0) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_left, loss_right = loss(left), loss(right)

    # 60 steps shrink the interval by a factor of 3e12, below double precision.
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
