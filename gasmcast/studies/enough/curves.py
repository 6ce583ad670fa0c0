"""Learning curves over the number of sources, by many fast refits on held-out sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.source_folds import split_folds
from gasmcast.features.ridge import fit_ridge
from gasmcast.progress import Progress, silent

__all__ = ["FRACTIONS", "LearningCurves", "learning_curves"]

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Shares of the sources of the training folds."""
FOLDS = 5
STAGE = "refitting on fewer sources"


@dataclass(frozen=True)
class LearningCurves:
    """Held-out hits by number of training sources.

    The letters are F fractions, N clips, C classes.
    """

    hits: NDArray[np.float64]
    """`(F, N)` share of the draws in which each clip was right; its source was always held out."""
    sizes: NDArray[np.float64]
    """`(F, C)` mean number of training sources of each class."""
    spread: NDArray[np.float64]
    """`(F,)` standard deviation of the accuracy from draw to draw."""
    confusion: NDArray[np.float64]
    """`(C, C)` clips at the largest fraction, mean of the draws; rows are true classes."""
    folds: int
    draws: int


def learning_curves(
    gram: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: int,
    *,
    draws: int = 10,
    seed: int = 0,
    progress: Progress = silent,
) -> LearningCurves:
    """Return learning curves from refits on a quarter, a half, three quarters and all sources.

    Each draw splits the sources into folds again. Every fold is scored by classifiers that
    were fitted on some of the sources of the other folds; smaller choices lie within larger ones,
    and every class keeps its share of sources.

    Args:
        gram: similarities `(N, N)` of the clips.
        labels: `(N,)` classes.
        groups: `(N,)` number of the source of each clip.
        classes: number of classes.
        draws: number of draws.
        seed: seed of the draws.
        progress: called after each draw.

    Raises:
        UsageError: fewer than two sources.
    """
    count = len(labels)
    folds = min(FOLDS, max(2, len(np.unique(groups))))
    names = [str(group) for group in groups]
    rng = np.random.default_rng(seed)

    hits = np.zeros((draws, len(FRACTIONS), count))
    sizes = np.zeros((draws, len(FRACTIONS), classes))
    confusion = np.zeros((classes, classes))
    for draw in range(draws):
        progress(STAGE, draw, draws)
        fold = split_folds(labels.tolist(), names, folds, int(rng.integers(2**31)))
        for k in range(folds):
            held_out = np.flatnonzero(fold == k)
            rest = np.flatnonzero(fold != k)
            ranks = _source_ranks(labels[rest], groups[rest], rng)

            for f, fraction in enumerate(FRACTIONS):
                chosen = rest[ranks < fraction + 1e-9]
                sizes[draw, f] += _sources_by_class(labels[chosen], groups[chosen], classes) / folds
                fit = fit_ridge(gram, labels, groups, chosen, classes)
                answers = fit.scores(gram, held_out).argmax(1)

                hits[draw, f, held_out] = answers == labels[held_out]
                if fraction == FRACTIONS[-1]:
                    np.add.at(confusion, (labels[held_out], answers), 1.0 / draws)
    progress(STAGE, draws, draws)

    return LearningCurves(
        hits=hits.mean(0),
        sizes=sizes.mean(0),
        spread=hits.mean(2).std(0),
        confusion=confusion,
        folds=folds,
        draws=draws,
    )


def _source_ranks(
    labels: NDArray[np.int64], groups: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a rank `(n,)` in (0, 1] of each clip's source among those of its most common class.

    The sources of rank at most p are a share p of each class, and at least one.
    """
    # A source counts for the class that most of its clips have.
    sources: dict[int, list[int]] = {}
    for group in np.unique(groups):
        main = int(np.bincount(labels[groups == group]).argmax())
        sources.setdefault(main, []).append(int(group))

    rank_of = {}
    for members in sources.values():
        order = rng.permutation(len(members))
        for place, member in enumerate(order):
            # The first source of a class belongs to the smallest share too.
            rank_of[members[member]] = 0.0 if place == 0 else (place + 0.5) / len(members)
    return np.array([rank_of[int(group)] for group in groups])


def _sources_by_class(
    labels: NDArray[np.int64], groups: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Return the number `(C,)` of sources that have clips of each class."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    return np.bincount(pairs[0], minlength=classes).astype(np.float64)
