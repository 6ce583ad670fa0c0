"""The gate of a guarded read-out: how much each of its read-outs counts, fitted on clips that none of them was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gasmcast.training.metrics import fit_temperature, log_softmax

__all__ = ["fit_gate"]

STEPS = 500
RATE = 0.5


def fit_gate(scores: NDArray[np.floating], labels: NDArray[np.integer], caution: float = 1.0) -> NDArray[np.float64]:
    """Weights of a logarithmic opinion pool (Genest and Zidek 1986) by stacking (Wolpert 1992), cautious.

    The mixture that is likeliest on the held-out clips is taken only if it beats the likeliest single read-out by `caution` standard
    errors of the paired difference (the one-standard-error rule, Breiman et al. 1984). Otherwise that read-out gets everything: with a
    hundred clips the optimum of a mixture is partly luck, and falling back is what the gate is for. Read-outs are compared and
    mixed at their own best temperature (Guo et al. 2017): one that is too sure of itself is not a worse one.

    Args:
        scores: `(R, N, classes)` logits of R read-outs, of clips held out from their training.
        labels: `(N,)`.
        caution: standard errors that a mixture must win by.

    Returns:
        `(R,)` weights of the log-probabilities as they are, not negative, sum 1.
    """
    count = len(scores)
    if scores.shape[1] < 2:
        return np.full(count, 1.0 / count)
    temperatures = np.array([fit_temperature(part, labels) for part in scores])
    logs = np.stack([log_softmax(part / t) for part, t in zip(scores, temperatures, strict=True)])  # (R, N, classes)
    rows = np.arange(len(labels))
    own = logs[:, rows, labels]  # (R, N)
    best = int(own.mean(1).argmax())
    mixed = _mixture(logs, own)
    gain = log_softmax(np.tensordot(mixed, logs, 1))[rows, labels] - own[best]
    wins = gain.mean() > caution * gain.std(ddof=1) / np.sqrt(len(gain))
    weights: NDArray[np.float64] = mixed / temperatures if wins else np.eye(count)[best]
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
