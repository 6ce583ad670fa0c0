"""The gate of a guarded read-out: how much each of its read-outs counts, by clips that none of them was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import fit_temperature, log_softmax

__all__ = ["fit_gate"]

STEPS = 500
RATE = 0.5


def fit_gate(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weights of a logarithmic opinion pool (Genest and Zidek 1986): half way from equal ones to the likeliest by stacking (Wolpert 1992).

    Half way, because the optimum on a hundred clips is partly luck (combinations shrunk towards equal weights: Diebold and Pauly 1990), and
    because what scored them was trained on fewer clips than the model will be, and the fused read-out mostly gains on motion with more
    (docs/experiments/fusion.md). Read-outs are mixed at their own best temperature (Guo et al. 2017), so that one which is sure and wrong
    has next to no say, whatever its share.

    Args:
        scores: `(R, N, classes)` logits of R read-outs, of clips held out from their training.
        labels: `(N,)`.

    Returns:
        `(R,)` weights of the log-probabilities as they are, not negative, sum 1.
    """
    count = len(scores)
    if scores.shape[1] < 2:
        return np.full(count, 1.0 / count)
    temperatures = np.array([fit_temperature(part, labels) for part in scores])
    logs = np.stack(
        [log_softmax(part / t) for part, t in zip(scores, temperatures, strict=True)]
    )  # (R, N, classes)
    own = logs[:, np.arange(len(labels)), labels]  # (R, N)
    weights: NDArray[np.float64] = (_mixture(logs, own) + 1.0 / count) / temperatures
    weights /= weights.sum()
    return weights


def _mixture(logs: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """The simplex weights of least negative log-likelihood, by exponentiated gradient (Kivinen and Warmuth 1997); it is convex."""
    weights = np.full(len(logs), 1.0 / len(logs))
    for _ in range(STEPS):
        pooled = np.exp(log_softmax(np.tensordot(weights, logs, 1)))  # (N, classes)
        gradient = ((pooled * logs).sum(-1) - own).mean(1)
        weights = np.maximum(weights * np.exp(-RATE * (gradient - gradient.min())), 1e-12)
        weights /= weights.sum()
    return np.asarray(weights)
