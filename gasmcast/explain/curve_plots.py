"""Draw the charts of an explanation as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gasmcast.explain.occlusion import STEPS, Curves

__all__ = ["draw_heat_maps", "draw_occlusion", "draw_points", "svg"]

Floats = NDArray[np.floating]
_MOST, _LEAST, _RANDOM = "#c8553d", "#1f4e79", "#777777"


def draw_occlusion(most: Curves, least: Curves, random: Sequence[Curves], probability: str) -> str:
    """Return the deletion and insertion curves as SVG.

    Args:
        most: curves of the most attended patches first.
        least: curves of the least attended patches first.
        random: curves of random orders; their mean and range are shown.
        probability: name of the vertical axis.
    """
    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    hidden = np.linspace(0, 100, STEPS + 1)
    for axes, kind in zip(
        figure.subplots(1, 2, sharey=True), ("deletion", "insertion"), strict=True
    ):
        rows = np.array([getattr(curves, kind) for curves in random])
        axes.fill_between(hidden, rows.min(0), rows.max(0), color=_RANDOM, alpha=0.2, lw=0)
        axes.plot(hidden, rows.mean(0), color=_RANDOM, label="random order: mean and range")
        axes.plot(hidden, getattr(most, kind), color=_MOST, label="most attended first", marker=".")
        axes.plot(hidden, getattr(least, kind), color=_LEAST, ls="--", label="least attended first")
        axes.set(xlabel=f"patches {'hidden' if kind == 'deletion' else 'shown'}, %", ylim=(0, 1.02))
        axes.set_title(kind)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(probability)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return svg(figure)


def draw_heat_maps(
    maps: Sequence[Floats],
    titles: Sequence[str],
    *,
    ticks: Sequence[str],
    rows: str = "",
    cols: str = "",
    peak: float | None = None,
) -> str:
    """Return square matrices side by side as SVG, with their values written in.

    Args:
        maps: `(N, N)` each.
        titles: title of each.
        ticks: names of the N rows and columns.
        rows: name of the vertical axis.
        cols: name of the horizontal axis.
        peak: value of the strongest color; None: the largest of all maps.
    """
    count, size = len(maps), len(ticks)
    side = 1.2 + 0.42 * size
    figure = Figure(figsize=(side * count, side), layout="constrained")
    peak = max(float(values.max()) for values in maps) if peak is None else peak
    panels = np.atleast_1d(figure.subplots(1, count))
    for axes, values, title in zip(panels, maps, titles, strict=True):
        axes.imshow(values, vmin=0, vmax=peak, cmap="Blues")
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(size), ticks, rotation=90, fontsize=7)
        axes.set_yticks(range(size), ticks, fontsize=7)
        axes.set(xlabel=cols, ylabel=rows)
        for (y, x), value in np.ndenumerate(values):
            color = "white" if value > 0.6 * peak else "black"
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color)
    return svg(figure)


def draw_points(points: Floats, groups: NDArray[np.integer], names: Sequence[str]) -> str:
    """Return a scatter plot of `(N, 2)` points as SVG, colored by group.

    Args:
        points: places on the map.
        groups: `(N,)` group of each point; -1 for "other".
        names: name of each group.
    """
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    palette = mpl.colormaps["tab20"]
    for group in np.unique(groups):
        chosen = points[groups == group]
        named = 0 <= group < len(names)
        color = palette(int(group) % 20) if named else "#bbbbbb"
        label = names[group] if named else "other"
        axes.scatter(chosen[:, 0], chosen[:, 1], s=16, color=color, label=label[:32])
    axes.set(xticks=[], yticks=[])
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return svg(figure)


def svg(figure: Figure) -> str:
    """Return a figure as an SVG document without a date, so that equal figures are equal files."""
    FigureCanvasSVG(figure)
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "gasmcast"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
