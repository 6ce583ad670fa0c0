"""Confidence interval of an accuracy on clips that share their sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["source_interval"]

RESAMPLES = 1000


def source_interval(
    correct: NDArray[np.bool_], sources: Sequence[str], seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the bootstrap interval of a mean over clips, whose sources are resampled.

    Clips of one recording are right or wrong together, so an interval over clips is too narrow.
    Source: A. Davison and D. Hinkley, "Bootstrap Methods and their Application", 1997, chapter 3.8.

    Args:
        correct: `(N,)`, whether each clip was classified correctly.
        sources: source of each clip.
        seed: seed of the resampling.
        level: share of the resamples within the interval.
    """
    if len(correct) == 0:
        return 0.0, 0.0
    _, number = np.unique(np.asarray(sources), return_inverse=True)
    clips = np.bincount(number)
    hits = np.bincount(number, weights=correct)

    # Sources have clips in different numbers, so both sums are drawn together.
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(clips), (RESAMPLES, len(clips)))
    means = hits[drawn].sum(1) / clips[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
