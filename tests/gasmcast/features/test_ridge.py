"""The closed forms of the ridge classifier equal refits by hand."""

from __future__ import annotations

import numpy as np

from gasmcast.features.ridge import fit_ridge, gram_matrix


def test_leaving_out_equals_fitting_again() -> None:
    rng = np.random.default_rng(0)
    labels, groups = np.arange(60) % 5, np.arange(60) // 10 * 5 + np.arange(60) % 5
    x = rng.normal(size=(5, 30))[labels] + rng.normal(size=(30, 30))[groups]
    gram = gram_matrix([x + rng.normal(size=x.shape)])
    held_out, chosen = np.flatnonzero(groups % 6 == 0), np.flatnonzero(groups % 6)
    fit = fit_ridge(gram, labels, groups, chosen, 5)

    def by_hand(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        own, targets = gram[np.ix_(train, train)], np.eye(5)[labels[train]]
        middle = np.eye(len(train)) - 1 / len(train)
        system = middle @ own @ middle + fit.penalty * np.eye(len(train))
        dual = np.linalg.solve(system, targets - targets.mean(0))
        rows = (gram[np.ix_(test, train)] - own.mean(0)) @ middle
        return rows @ dual + targets.mean(0)

    whole = by_hand(chosen, held_out)
    np.testing.assert_allclose(fit.scores(gram, held_out), whole, atol=1e-9)
    without = by_hand(np.delete(chosen, 3), held_out)
    np.testing.assert_allclose(fit.influence(gram, held_out)[3], whole - without, atol=1e-9)
    first = groups[chosen] == groups[chosen[0]]
    expected = by_hand(chosen[~first], chosen[first])
    np.testing.assert_allclose(fit.left_out[first], expected, atol=1e-6)
