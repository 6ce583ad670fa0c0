"""Find clips that do harm: wrong labels, wrong cuts, footage unlike all other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.source_folds import split_folds
from gasmcast.evaluation.metrics import fit_temperature, log_softmax
from gasmcast.features.ridge import fit_ridge

__all__ = ["ClipHarm", "rank_harm"]

Floats = NDArray[np.float64]
FOLDS = 5
CONFIDENT = 0.6
"""Probability of another class from which a clip is likely to be labeled wrongly."""


@dataclass(frozen=True)
class ClipHarm:
    """Suspicion against one clip."""

    clip: int
    """Row of the clip."""
    loss: float
    """Negative log-likelihood of its label by the classifier without this clip."""
    out_of_fold_loss: float
    """The same by the classifier without all clips of its source."""
    effect: float
    """What leaving the clip out takes from the summed loss of clips of other sources; positive for
    a clip that does harm.
    """
    predicted: int
    """Class that it is given without its label."""
    probability: float
    """Probability of that class."""
    likely: str
    """Likely cause: "wrong label", "unlike other clips of its class", or empty."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def rank_harm(
    gram: Floats, labels: NDArray[np.int64], groups: NDArray[np.int64], classes: int
) -> list[ClipHarm]:
    """Return all clips, the most suspicious first.

    The order is that of the loss without the clip itself. Its siblings of the same source stay in:
    they are the best witnesses of a wrong label.

    Args:
        gram: similarities `(N, N)`.
        labels: `(N,)`.
        groups: `(N,)` number of the source of each clip.
        classes: number of classes.
    """
    everything = np.arange(len(labels))
    alone = fit_ridge(gram, labels, everything, everything, classes).left_out
    by_source = fit_ridge(gram, labels, groups, everything, classes).left_out
    alone = log_softmax(alone / fit_temperature(alone, labels))
    temperature = fit_temperature(by_source, labels)
    by_source = log_softmax(by_source / temperature)
    effects = _effects(gram, labels, groups, classes, temperature)

    losses = -alone[everything, labels]
    ranked = []
    for clip in np.argsort(-losses, kind="stable"):
        predicted = int(alone[clip].argmax())
        probability = float(np.exp(alone[clip, predicted]))
        ranked.append(
            ClipHarm(
                clip=int(clip),
                loss=float(losses[clip]),
                out_of_fold_loss=float(-by_source[clip, labels[clip]]),
                effect=float(effects[clip]),
                predicted=predicted,
                probability=probability,
                likely=_likely_cause(predicted == labels[clip], probability),
            )
        )
    return ranked


def _likely_cause(right: bool, probability: float) -> str:
    """Return the likely cause of a clip's loss."""
    if right:
        return ""
    # A clip that no class claims was often cut wrongly, or comes from another camera.
    return "wrong label" if probability >= CONFIDENT else "unlike other clips of its class"


def _effects(
    gram: Floats,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: int,
    temperature: float,
) -> Floats:
    """Return how much the summed loss of clips of other folds falls without each clip, `(N,)`."""
    folds = min(FOLDS, len(np.unique(groups)))
    fold = split_folds(labels.tolist(), [str(group) for group in groups], folds)

    effects = np.zeros(len(labels))
    for k in range(folds):
        chosen, held_out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        fit = fit_ridge(gram, labels, groups, chosen, classes)
        scores = fit.scores(gram, held_out)  # (m, C)
        rows, truth = np.arange(len(held_out)), labels[held_out]
        with_clip = -log_softmax(scores / temperature)[rows, truth].sum()

        # All refits without one clip at once: (n, m, C).
        without = log_softmax((scores - fit.influence(gram, held_out)) / temperature)
        effects[chosen] += with_clip + without[:, rows, truth].sum(1)
    return effects / max(folds - 1, 1)
