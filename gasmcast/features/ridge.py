"""Ridge regression on class indicators, in closed form on a matrix of similarities.

A refit on some of the clips takes milliseconds, because everything is computed from the Gram matrix
`(N, N)` of the clips, whatever the number of features. On one-hot targets it is linear discriminant
analysis with a shrunk covariance (Hastie, Tibshirani and Friedman, The Elements of Statistical
Learning, 4.2-4.3). NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PENALTIES", "RidgeFit", "fit_ridge", "gram_matrix"]

Floats = NDArray[np.float64]
PENALTIES = tuple(float(penalty) for penalty in 10.0 ** np.arange(-3, 2.6, 0.5))
"""Penalties that are tried, relative to the mean similarity of a clip with itself."""


def gram_matrix(blocks: Sequence[NDArray[np.floating]]) -> Floats:
    """Return the similarities `(N, N)` of clips, in which every block of features counts the same.

    Features are standardized over all clips, which uses no label.

    Args:
        blocks: `(N, X)` features each, such as one tap of a backbone.
    """
    count = len(blocks[0])
    total = np.zeros((count, count))
    for block in blocks:
        x = np.asarray(block, np.float64)
        x = (x - x.mean(0)) / (x.std(0) + 1e-6)
        similarity = x @ x.T
        total += similarity / max(float(np.trace(similarity)) / count, 1e-12)
    return total / len(blocks)


@dataclass(frozen=True)
class RidgeFit:
    """Ridge classifier, fitted on `n` clips."""

    chosen: NDArray[np.int64]
    """`(n,)` clips that it was fitted on, as rows of the Gram matrix."""
    dual: Floats
    """`(n, C)` weight of each clip in the scores of each class."""
    offset: Floats
    """`(C,)` scores of the mean clip."""
    inverse: Floats
    """`(n, n)` inverse of the centered and penalized Gram matrix."""
    penalty: float
    left_out: Floats
    """`(n, C)` scores of each clip by the fit without the clips of its group."""
    residuals: Floats
    """`(n, C)` targets less the scores of the fit itself."""

    def scores(self, gram: Floats, clips: NDArray[np.int64]) -> Floats:
        """Return the scores `(m, C)` of clips, about 1 for the right class and 0 for others.

        Args:
            gram: the whole Gram matrix `(N, N)`.
            clips: `(m,)` clips to score, as rows of it.
        """
        scores: Floats = self._center(gram, clips) @ self.dual + self.offset
        return scores

    def influence(self, gram: Floats, clips: NDArray[np.int64]) -> Floats:
        """Return what each fitted clip adds to the scores of other clips: `(n, m, C)`.

        It is exact: the scores with the clip less those of a fit without it (the closed form of
        leaving one out, Cook 1977, Detection of Influential Observation in Linear Regression).

        Args:
            gram: the whole Gram matrix `(N, N)`.
            clips: `(m,)` clips that are scored, none of them a fitted one.
        """
        n = len(self.chosen)
        # Both matrices map targets to scores: of the other clips, and of the fitted ones.
        hat = self._center(gram, clips) @ self.inverse + 1.0 / n  # (m, n)
        own = 1.0 - (self.penalty * np.diagonal(self.inverse) - 1.0 / n)  # (n,)

        # Without clip i its score would be off by its residual over 1 - own_i.
        step = self.residuals / np.maximum(1.0 - own, 1e-9)[:, None]  # (n, C)
        return np.asarray(hat.T[:, :, None] * step[:, None, :])

    def _center(self, gram: Floats, clips: NDArray[np.int64]) -> Floats:
        """Return similarities `(m, n)` of clips with the fitted ones, around the fitted mean."""
        rows = gram[np.ix_(clips, self.chosen)]
        own = gram[np.ix_(self.chosen, self.chosen)].mean(0)
        centered: Floats = rows - rows.mean(1, keepdims=True) - own + own.mean()
        return centered


def fit_ridge(
    gram: Floats,
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    chosen: NDArray[np.int64],
    classes: int,
) -> RidgeFit:
    """Fit the classifier on some clips; the penalty is the best one with whole groups left out.

    Args:
        gram: similarities `(N, N)` of all clips.
        labels: `(N,)` classes.
        groups: `(N,)` number of the source of each clip.
        chosen: `(n,)` clips to fit on.
        classes: number of classes C.
    """
    n = len(chosen)
    targets = np.eye(classes)[labels[chosen]]
    offset = targets.mean(0)

    # The intercept is not penalized: targets and similarities are centered.
    own = gram[np.ix_(chosen, chosen)]
    centered = own - own.mean(0) - own.mean(1, keepdims=True) + own.mean()
    values, vectors = np.linalg.eigh(centered)
    values = np.maximum(values, 0.0)
    scale = max(float(values.mean()), 1e-12)
    rotated = vectors.T @ (targets - offset)  # (n, C)

    # One eigendecomposition serves all penalties.
    members = _members(groups[chosen])
    best: RidgeFit | None = None
    best_loss = np.inf
    for relative in PENALTIES:
        penalty = relative * scale
        inverse = (vectors / (values + penalty)) @ vectors.T
        dual = (vectors / (values + penalty)) @ rotated
        residuals = penalty * dual
        errors = _leave_groups_out(penalty * inverse - 1.0 / n, residuals, members)

        loss = float((errors**2).sum())
        if loss < best_loss:
            best_loss = loss
            best = RidgeFit(
                chosen=chosen,
                dual=dual,
                offset=offset,
                inverse=inverse,
                penalty=penalty,
                left_out=targets - errors,
                residuals=residuals,
            )
    assert best is not None  # squared errors of finite features are finite
    return best


def _members(groups: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Return the members of all groups, those of equal size as the rows of one array."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])

    # Groups of one size are solved together.
    tables = []
    for size in np.unique(counts):
        firsts = starts[counts == size]
        tables.append(order[firsts[:, None] + np.arange(size)])  # (groups, size)
    return tables


def _leave_groups_out(
    rest: Floats, residuals: Floats, members: Sequence[NDArray[np.int64]]
) -> Floats:
    """Return the errors `(n, C)` of each clip in the fit without its group.

    The identity holds for any penalized least squares (PRESS; Allen 1974, The Relationship between
    Variable Selection and Data Augmentation), here for blocks.

    Args:
        rest: identity less the matrix that maps targets to scores, `(n, n)`.
        residuals: `(n, C)`.
        members: tables `(groups, size)` of clips.
    """
    errors = np.empty_like(residuals)
    for table in members:
        # A set of a single group leaves nothing to fit on: its matrix is singular.
        size = table.shape[1]
        blocks = rest[table[:, :, None], table[:, None, :]] + 1e-9 * np.eye(size)
        errors[table] = np.linalg.solve(blocks, residuals[table])
    return errors
