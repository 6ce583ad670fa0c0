"""Power laws of learning curves, and their spread by a bootstrap over sources.

The error falls as `scale * n ** -exponent` with the number n of sources (Hestness et al. 2017, Deep
Learning Scaling is Predictable, Empirically). Forecasts reach to twice the data at most, so there
is no floor: four points cannot tell a floor and a small exponent apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PowerLaw", "fit_power_law", "source_weights", "weighed_errors"]

Floats = NDArray[np.float64]
SMALLEST_ERROR = 1e-3
"""Stands for an error of 0, which has no logarithm."""


@dataclass(frozen=True)
class PowerLaw:
    """Power laws of R curves."""

    scale: Floats
    """`(R,)` error at one source."""
    exponent: Floats
    """`(R,)`, 0 for a curve that does not fall."""

    def error(self, sources: float) -> Floats:
        """Return the errors `(R,)` at a number of sources, 0..1."""
        return np.minimum(self.scale * sources**-self.exponent, 1.0)


def fit_power_law(sizes: Floats, errors: Floats) -> PowerLaw:
    """Fit one power law to each curve, by least squares of the logarithms.

    A point weighs as the square of its number of sources: forecasts continue the end of the curve,
    and curves of few clips are steeper there than at their start.

    Args:
        sizes: `(F,)` numbers of sources, all positive.
        errors: `(R, F)` errors at these sizes, 0..1.
    """
    weights = sizes**2 / (sizes**2).sum()
    x = np.log(sizes)
    y = np.log(np.maximum(errors, SMALLEST_ERROR))  # (R, F)

    # A straight line through the weighted means; it never rises.
    x_mean, y_mean = float(weights @ x), y @ weights
    deviation = weights * (x - x_mean)
    spread = max(float(deviation @ (x - x_mean)), 1e-12)
    slope = np.minimum((y - y_mean[:, None]) @ deviation / spread, 0.0)
    return PowerLaw(scale=np.exp(y_mean - slope * x_mean), exponent=-slope)


def source_weights(groups: int, resamples: int, seed: int = 0) -> Floats:
    """Return weights `(R, G + 2)` of a Bayesian bootstrap over sources (Rubin 1981).

    The last two belong to one source that is always right and one that is always wrong, with half
    the weight of a real one each (Jeffreys' prior). Without them a class of three sources that are
    all right would seem certain.
    """
    rng = np.random.default_rng(seed)
    weights = rng.gamma(np.append(np.ones(groups), [0.5, 0.5]), size=(resamples, groups + 2))
    return np.asarray(weights)


def weighed_errors(wrong: Floats, clips: Floats, weights: Floats) -> Floats:
    """Return the errors `(R, F)` of resampled sources.

    Args:
        wrong: `(F, G)` wrong clips of each source.
        clips: `(G,)` clips of each source; 0 for one that does not count.
        weights: `(R, G + 2)` from `source_weights`.
    """
    # The two sources of the prior are as large as the average one.
    size = float(clips[clips > 0].mean())
    weighed = weights[:, :-2] @ wrong.T + weights[:, -1:] * size  # (R, F)
    total = weights[:, :-2] @ clips + weights[:, -2:].sum(1) * size  # (R,)
    return np.asarray(weighed / total[:, None])
