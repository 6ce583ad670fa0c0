"""Draw figures of runs and evaluations with matplotlib, without a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gasmcast.report.figures import BAR, GOOD, INK, LINE, MARK, MUTED, SOFT_BAR

__all__ = [
    "CURVES",
    "Panel",
    "draw_bars",
    "draw_confusion",
    "draw_curves",
    "draw_panel",
    "draw_reliability",
]

_LINE_COLORS = (BAR, MARK, GOOD, MUTED)

MAX_NAMED_CLASSES = 40
"""Classes up to which a confusion matrix shows names."""
MAX_COUNTED_CLASSES = 20
"""Classes up to which a confusion matrix shows counts."""


@dataclass(frozen=True)
class Panel:
    """Panel of the training curves."""

    title: str
    lines: dict[str, str]
    """History key -> legend."""
    factor: float = 1.0
    """Factor from the history to the axis."""


CURVES = (
    Panel(
        "loss",
        {
            "train_loss": "training: mixed, smoothed, all terms",
            "loss": "validation: cross-entropy",
        },
    ),
    Panel(
        "accuracy, %",
        {
            "top1": "top-1",
            "train_top1": "training top-1",
            "top5": "top-5",
            "mean_class": "mean-class",
        },
        factor=100.0,
    ),
    Panel("learning rate", {"lr": "learning rate"}),
)


def draw_curves(history: Sequence[dict[str, float]]) -> Figure:
    """Draw loss, accuracy and learning rate by epoch, side by side.

    Args:
        history: one record for each epoch; keys that are missing leave a gap.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(CURVES)), CURVES, strict=True):
        _draw_lines(axes, history, panel)
    return figure


def draw_panel(history: Sequence[dict[str, float]], panel: Panel) -> Figure:
    """Draw one panel of the curves, in a size that a phone shows without scrolling."""
    figure = Figure(figsize=(4.4, 3.2), layout="constrained")
    _draw_lines(figure.subplots(), history, panel)
    return figure


def _draw_lines(axes: Axes, history: Sequence[dict[str, float]], panel: Panel) -> None:
    epochs = [row["epoch"] for row in history]
    # Markers show single epochs of short runs and would hide the lines of long ones.
    marker = "." if len(epochs) < 40 else ""

    for color, (key, label) in zip(_LINE_COLORS, panel.lines.items(), strict=False):
        values = [panel.factor * row[key] if key in row else np.nan for row in history]
        if not np.isfinite(values).any():
            continue
        # In a balanced set the mean-class accuracy lies on top of top-1.
        style = "--" if key == "mean_class" else "-"
        axes.plot(epochs, values, style, color=color, label=label, marker=marker, markersize=4)

    axes.set_title(panel.title, fontsize=11)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=LINE, alpha=0.6)
    if len(panel.lines) > 1 and axes.lines:
        axes.legend(frameon=False, fontsize=8)


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Draw a confusion matrix, each row as shares of its class.

    Args:
        counts: `(C, C)`; rows are true classes.
        names: class names, shown up to 40 classes.
    """
    # Shares of rows make rare classes as visible as frequent ones.
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    classes = len(counts)
    side = min(16.0, 4.5 + 0.28 * classes)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    # From transparent to blue, so that an empty cell has the color of the page in each theme.
    shades = ListedColormap([(*to_rgb(BAR), step / 255) for step in range(256)])
    image = axes.imshow(shares, vmin=0, vmax=1, cmap=shades, interpolation="nearest")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")

    # Beyond these numbers of classes, names and counts would overlap.
    if classes <= MAX_NAMED_CLASSES:
        short = [name if len(name) <= 42 else name[:40] + "…" for name in names]
        axes.set_xticks(range(classes), short, rotation=90, fontsize=8)
        axes.set_yticks(range(classes), short, fontsize=8)
    if classes <= MAX_COUNTED_CLASSES:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else INK
            text = str(counts[row, column])
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)

    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class")
    return figure


def draw_reliability(tables: dict[str, NDArray[np.float64]]) -> Figure:
    """Draw accuracy against confidence of the top-1 class.

    Args:
        tables: label -> result of `metrics.reliability`; each becomes one line, whose dots have the
            area of their share of the clips.
    """
    figure = Figure(figsize=(4.6, 4.3), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", label="perfectly calibrated")

    for color, (label, table) in zip((MARK, BAR, GOOD), tables.items(), strict=False):
        # Empty bins have no accuracy, so the line skips them.
        confidence, accuracy, share = table[table[:, 2] > 0].T
        axes.plot(confidence, accuracy, color=color, label=label)
        axes.scatter(confidence, accuracy, s=15 + 500 * share, color=color, alpha=0.5)

    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(color=LINE, alpha=0.6)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def draw_bars(
    values: Sequence[float],
    labels: Sequence[str],
    title: str,
    errors: Sequence[tuple[float, float]] = (),
) -> Figure:
    """Draw accuracies as horizontal bars, the first on top.

    Args:
        values: accuracies in percent.
        labels: name of each bar.
        title: name of the axis.
        errors: low and high bound of each bar in percent; none if empty.
    """
    figure = Figure(figsize=(8, 1.0 + 0.32 * len(values)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(values))

    # matplotlib takes distances from the value, not bounds.
    distances = None
    if errors:
        bounds = np.array(errors, np.float64)  # (bars, 2)
        distances = np.abs(bounds.T - np.asarray(values)).clip(0)
    axes.barh(rows, values, color=SOFT_BAR, xerr=distances, ecolor=MARK, capsize=3)

    axes.set_yticks(rows, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.grid(axis="x", color=LINE, alpha=0.6)
    return figure
