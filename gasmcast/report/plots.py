"""Draw plots of runs and evaluations with matplotlib, without a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gasmcast.files import atomic_path

__all__ = ["draw_bars", "draw_confusion", "draw_curves", "draw_reliability"]

INK = "#1f4e79"
SECOND = "#c8553d"
THIRD = "#5b8c5a"

MAX_NAMED_CLASSES = 40
"""Classes up to which a confusion matrix shows names."""
MAX_COUNTED_CLASSES = 20
"""Classes up to which a confusion matrix shows counts."""


@dataclass(frozen=True)
class _Panel:
    """Panel of the training curves."""

    title: str
    lines: dict[str, str]
    """History key -> legend."""
    factor: float = 1.0
    """Factor from the history to the axis."""


_CURVES = (
    _Panel(
        "loss",
        {
            "train_loss": "training: mixed, smoothed, all terms",
            "loss": "validation: cross-entropy",
        },
    ),
    _Panel(
        "accuracy, %",
        {
            "train_top1": "training top-1",
            "top1": "top-1",
            "top5": "top-5",
            "mean_class": "mean-class",
        },
        factor=100.0,
    ),
    _Panel("learning rate", {"lr": "learning rate"}),
)


def draw_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss, accuracy and learning rate by epoch.

    Args:
        history: one record for each epoch; keys that are missing leave a gap.
        path: picture to write.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in history]
    # Markers show single epochs of short runs and would hide the lines of long ones.
    marker = "." if len(epochs) < 40 else ""

    for axes, panel in zip(figure.subplots(1, 3), _CURVES, strict=True):
        for key, label in panel.lines.items():
            values = [panel.factor * row[key] if key in row else np.nan for row in history]
            if not np.isfinite(values).any():
                continue
            # In a balanced set the mean-class accuracy lies on top of top-1.
            style = "--" if key == "mean_class" else "-"
            axes.plot(epochs, values, style, label=label, marker=marker, markersize=4)

        axes.set_title(panel.title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if len(panel.lines) > 1 and axes.lines:
            axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix, each row as shares of its class.

    Args:
        counts: `(C, C)`; rows are true classes.
        names: class names, shown up to 40 classes.
        path: picture to write.
    """
    # Shares of rows make rare classes as visible as frequent ones.
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    classes = len(counts)
    side = min(16.0, 4.5 + 0.28 * classes)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")

    # Beyond these numbers of classes, names and counts would overlap.
    if classes <= MAX_NAMED_CLASSES:
        short = [name if len(name) <= 42 else name[:40] + "…" for name in names]
        axes.set_xticks(range(classes), short, rotation=90, fontsize=7)
        axes.set_yticks(range(classes), short, fontsize=7)
    if classes <= MAX_COUNTED_CLASSES:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            text = str(counts[row, column])
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)

    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class")
    _save(figure, path)


def draw_reliability(tables: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Draw accuracy against confidence of the top-1 class.

    Args:
        tables: label -> result of `metrics.reliability`; each becomes one line, whose dots have the
            area of their share of the clips.
        path: picture to write.
    """
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", label="perfectly calibrated")

    for color, (label, table) in zip((SECOND, INK, THIRD), tables.items(), strict=False):
        # Empty bins have no accuracy, so the line skips them.
        confidence, accuracy, share = table[table[:, 2] > 0].T
        axes.plot(confidence, accuracy, color=color, label=label)
        axes.scatter(confidence, accuracy, s=15 + 500 * share, color=color, alpha=0.5)

    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _save(figure, path)


def draw_bars(
    values: Sequence[float],
    labels: Sequence[str],
    title: str,
    path: Path,
    errors: Sequence[tuple[float, float]] = (),
) -> None:
    """Draw accuracies as horizontal bars, the first on top.

    Args:
        values: accuracies in percent.
        labels: name of each bar.
        title: name of the axis.
        path: picture to write.
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
    axes.barh(rows, values, color=INK, alpha=0.85, xerr=distances, ecolor=SECOND, capsize=3)

    axes.set_yticks(rows, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # The canvas is attached by hand, because pyplot would look for a display.
    FigureCanvasAgg(figure)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=110, format=path.suffix[1:])
