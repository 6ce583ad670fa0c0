"""Draw what happened over time: actions and decisions by class, and latency by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from gasmcast.report.figures import BAR, LINE, MARK, MUTED, SOFT_BAR

__all__ = ["Dot", "Span", "draw_latency", "draw_time_line"]

MOST_LETTERS = 48
"""Letters of a name that are shown."""
MOST_DOTS = 3000
"""Dots up to which a time line draws each as a shape; more become one picture."""
_BINS = 40


class Span(NamedTuple):
    """Action from its start to its end."""

    name: str
    start_s: float
    end_s: float


class Dot(NamedTuple):
    """Decision at the end of its window."""

    name: str
    time_s: float
    probability: float


def draw_time_line(
    names: Sequence[str],
    spans: Sequence[Span],
    dots: Sequence[Dot],
    *,
    axis: str = "seconds of the video",
) -> Figure:
    """Draw bars of actions and dots of decisions, one row a class, above an axis of time.

    Args:
        names: classes, the first on top; spans and dots of other classes are left out.
        spans: actions.
        dots: decisions; a confident one is darker.
        axis: name of the axis of time.
    """
    row = {name: i for i, name in enumerate(names)}
    figure = Figure(figsize=(8.6, 1.1 + 0.3 * max(len(names), 1)), layout="constrained")
    axes = figure.subplots()

    for span in spans:
        if span.name in row:
            length_s = max(span.end_s - span.start_s, 0.0)
            y = row[span.name] - 0.3
            axes.broken_barh([(span.start_s, length_s)], (y, 0.35), facecolors=SOFT_BAR)

    shown = [dot for dot in dots if dot.name in row]
    # matplotlib warns of an empty list of colors.
    if shown:
        opacity = [0.3 + 0.7 * min(max(dot.probability, 0.0), 1.0) for dot in shown]
        axes.scatter(
            [dot.time_s for dot in shown],
            [row[dot.name] + 0.22 for dot in shown],
            s=14,
            c=[to_rgba(MARK, alpha) for alpha in opacity],
            linewidths=0,
            rasterized=len(shown) > MOST_DOTS,
        )

    short = [
        name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1].rstrip() + "…"
        for name in names
    ]
    axes.set_yticks(range(len(names)), short, fontsize=9)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xlabel(axis)
    axes.grid(axis="x", color=LINE, alpha=0.6)
    return figure


def draw_latency(stages: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Draw a histogram of the latency of each stage, below each other on one axis.

    Args:
        stages: name -> milliseconds of each decision.
    """
    count = len(stages)
    figure = Figure(figsize=(4.8, 0.7 + 0.62 * count), layout="constrained")
    rows = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]

    # Stages differ by orders of magnitude, so the axis is logarithmic; zero has no logarithm.
    floor = 0.01
    highest = max((float(values.max()) for values in stages.values() if len(values)), default=1.0)
    edges = np.geomspace(floor, max(highest, 1.0), _BINS + 1)
    for axes, (name, values) in zip(rows, stages.items(), strict=True):
        axes.hist(np.maximum(values, floor), edges, color=BAR)
        if len(values):
            axes.axvline(max(float(np.median(values)), floor), color=MARK, linewidth=1.5)
        axes.set_xscale("log")
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, color=MUTED)
    rows[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    rows[-1].set_xlabel("milliseconds; line: median")
    return figure
