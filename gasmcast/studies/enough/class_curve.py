"""Learning curve of one class: its accuracy, whether it rises, and what more data would bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gasmcast.studies.enough.curves import FRACTIONS
from gasmcast.studies.enough.power_law import fit_power_law, weighed_errors

__all__ = ["ClassCurve", "Forecast", "Trend", "fit_curve"]

Floats = NDArray[np.float64]
Trend = Literal["rising", "flat", "unclear"]
LEVEL = 0.95
MORE_SOURCES = 3
MORE_CLIPS = 10
FLAT = 0.03
"""Largest gain, as a share, of a curve that is flat when its sources are doubled."""
SURE = 0.9
"""Share of resampled sources that must rise for a curve to be called rising."""
SURE_FLAT = 0.75
"""Share of resampled sources whose gain must be small for a curve to be called flat."""
LEARNED = 0.5
"""Accuracy below which a curve is not called flat: it may not have begun to rise."""


@dataclass(frozen=True)
class Forecast:
    """Accuracy to expect with more data."""

    sources: float
    """Number of training sources per class that it is for."""
    accuracy: float
    """Share 0..1."""
    interval: tuple[float, float]
    """95 % interval."""


@dataclass(frozen=True)
class ClassCurve:
    """Learning curve of one class, or of all classes together."""

    name: str
    clips: int
    sources: int
    sizes: tuple[float, ...]
    """Number of training sources per class at each point."""
    accuracy: tuple[float, ...]
    """Held-out accuracy (0..1) at each point."""
    interval: tuple[float, float]
    """95 % interval of the last point, over sources."""
    trend: Trend
    more_sources: Forecast
    """With 3 more sources of each class."""
    more_clips: Forecast
    """With 10 more clips of each class, of new sources as large as the present ones."""
    twice: Forecast
    """With twice as many sources."""

    @property
    def gain(self) -> float:
        """Accuracy that 3 more sources are expected to bring."""
        return self.more_sources.accuracy - self.accuracy[-1]


def fit_curve(
    name: str, sizes: Floats, wrong: Floats, members: Floats, weights: Floats
) -> ClassCurve:
    """Fit the curve of some clips.

    Args:
        name: name of their class.
        sizes: `(F,)` training sources of the class at each fraction.
        wrong: `(F, N)` share of the draws in which each clip was wrong, its source held out.
        members: `(N, G)` 1 where a clip is of a source.
        weights: `(R, G + 2)` from `source_weights`.
    """
    clips = members.sum(0)  # (G,)
    sources = int((clips > 0).sum())
    sizes = np.maximum(sizes, 0.5)  # a class of a single source has no other to train on
    errors = weighed_errors(wrong @ members, clips, weights)  # (R, F)
    mean = wrong.mean(1)

    # An error of 0 is less than what so few clips can show.
    shown = np.maximum(mean, 0.5 / (wrong.shape[1] + 1))[None]
    tail = (1 - LEVEL) / 2
    laws, law = fit_power_law(sizes, errors), fit_power_law(sizes, shown)

    def forecast(more: float) -> Forecast:
        target = float(sizes[-1]) + more
        # The curve ends at the measured point, and the law gives the change from there.
        change = float(law.error(float(sizes[-1]))[0] - law.error(target)[0])
        low, high = np.quantile(1 - laws.error(target), [tail, 1 - tail])
        accuracy = min(1.0, 1 - float(mean[-1]) + change)
        interval = (min(float(low), accuracy), max(float(high), accuracy))
        return Forecast(target, accuracy, interval)

    low, high = np.quantile(1 - errors[:, -1], [tail, 1 - tail])
    return ClassCurve(
        name=name,
        clips=int(clips.sum()),
        sources=sources,
        sizes=tuple(float(size) for size in sizes),
        accuracy=tuple(float(1 - error) for error in mean),
        interval=(float(low), float(high)),
        trend=_trend(errors, laws.error(float(sizes[-1])) - laws.error(2 * float(sizes[-1]))),
        more_sources=forecast(MORE_SOURCES),
        more_clips=forecast(MORE_CLIPS * sources / float(clips.sum())),
        twice=forecast(float(sizes[-1])),
    )


def _trend(errors: Floats, gains: Floats) -> Trend:
    """Return whether a curve still rises at its end.

    Args:
        errors: `(R, F)` of resampled sources.
        gains: `(R,)` accuracy that their power laws expect of twice the sources.
    """
    # A law only says how fast; that it rises at all shows in the refits themselves. Before its
    # power law a curve is level near chance (the "small data region" of Hestness et al. 2017).
    half = FRACTIONS.index(0.5)
    rises = float((errors[:, half] > errors[:, -1]).mean())
    if float(np.median(gains)) > FLAT and rises >= SURE:
        return "rising"
    is_learned = float(np.median(errors[:, -1])) <= 1 - LEARNED
    return "flat" if is_learned and float((gains <= FLAT).mean()) >= SURE_FLAT else "unclear"
