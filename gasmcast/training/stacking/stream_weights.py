"""Fit the stream weights of a guarded model: how much each read-out counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gasmcast.config import Config
from gasmcast.evaluation.metrics import fit_temperature, log_softmax

__all__ = [
    "READ_OUTS",
    "describe_stream_weights",
    "fit_stream_weights",
    "fits_stream_weights",
    "pool_out_of_fold",
]

READ_OUTS = ("semantic", "motion", "fused")
STEPS = 500
RATE = 0.5


def describe_stream_weights(config: Config) -> str:
    """Return the fitted stream weights as a sentence; empty if the run does not fit them."""
    if not fits_stream_weights(config):
        return ""
    weights = ", ".join(
        f"{name} {weight:.2f}"
        for name, weight in zip(READ_OUTS, config.model.stream_weights, strict=True)
    )
    folds = config.train.stream_weight_folds
    return f"Stream weights, fitted on {folds} folds of the training clips: {weights}."


def fits_stream_weights(config: Config) -> bool:
    """Return whether the run has stream weights and asks to fit them."""
    is_guarded = config.model.read_out == "guarded" and config.model.streams == "both"
    return is_guarded and config.train.stream_weight_folds > 0


def fit_stream_weights(
    scores: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the weights of a logarithmic opinion pool (Genest and Zidek 1986) of read-outs.

    They lie half way between equal weights and the likeliest ones by stacking (Wolpert 1992). Half
    way, because the optimum on a hundred clips is partly luck (combinations shrunk towards equal
    weights: Diebold and Pauly 1990), and because the models that scored the clips were trained on
    fewer clips than the final one, and the fused read-out mostly gains on the motion read-out with
    more (docs/experiments/fusion.md).

    Read-outs are mixed at their own best temperature (Guo et al. 2017), so that one that is
    confident and wrong has next to no influence, whatever its share.

    Args:
        scores: `(R, N, classes)` logits of R read-outs on clips held out from their training.
        labels: `(N,)` class numbers.

    Returns:
        `(R,)` weights of the log-probabilities without temperature; not negative, sum 1.
    """
    count = len(scores)
    if scores.shape[1] < 2:
        return np.full(count, 1.0 / count)

    # Log-probabilities of all classes and of the right one, each at its best temperature.
    temperatures = np.array([fit_temperature(part, labels) for part in scores])
    logs = np.stack(
        [log_softmax(part / t) for part, t in zip(scores, temperatures, strict=True)]
    )  # (R, N, classes)
    right = logs[:, np.arange(len(labels)), labels]  # (R, N)

    # Half way to equal weights. Dividing by the temperature applies the weights to the logits as
    # they are.
    weights: NDArray[np.float64] = (_fit_mixture(logs, right) + 1.0 / count) / temperatures
    weights /= weights.sum()
    return weights


def _fit_mixture(logs: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights on the simplex with the least negative log-likelihood.

    The problem is convex; exponentiated gradient descent (Kivinen and Warmuth 1997) solves it.

    Args:
        logs: `(R, N, classes)` log-probabilities.
        right: `(R, N)` log-probability of the right class.
    """
    weights = np.full(len(logs), 1.0 / len(logs))
    for _ in range(STEPS):
        pooled = np.exp(log_softmax(np.tensordot(weights, logs, 1)))  # (N, classes)
        gradient = ((pooled * logs).sum(-1) - right).mean(1)  # (R,)

        # The floor keeps a weight that has vanished from staying at 0 for ever.
        weights = np.maximum(weights * np.exp(-RATE * (gradient - gradient.min())), 1e-12)
        weights /= weights.sum()
    return np.asarray(weights)


def pool_out_of_fold(
    parts: Sequence[NDArray[np.floating]], truths: Sequence[NDArray[np.integer]]
) -> list[NDArray[np.float64]]:
    """Return pooled logits `(N, classes)` of clips that neither trained nor fitted them, by fold.

    The models of a fold have not seen its clips; its stream weights are fitted on the other folds.

    Args:
        parts: `(R, N, classes)` logits of the read-outs, by fold.
        truths: `(N,)` labels, by fold.
    """
    # Weights that were fitted on a fold's own clips would flatter it.
    pooled = []
    for k, part in enumerate(parts):
        others = [i for i in range(len(parts)) if i != k]
        weights = fit_stream_weights(
            np.concatenate([parts[i] for i in others], 1),
            np.concatenate([truths[i] for i in others]),
        )

        # The logarithmic pool, as the model computes it.
        logs = np.stack([log_softmax(scores) for scores in part])  # (R, N, classes)
        pooled.append(np.tensordot(weights, logs, 1))
    return pooled
