"""Pictures of a run and of an evaluation, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gasmcast.files import atomic_path

__all__ = ["draw_bars", "draw_confusion", "draw_curves", "draw_reliability"]

INK = "#1f4e79"
SECOND = "#c8553d"


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=110, format=path.suffix[1:])


def draw_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Loss, accuracy and learning rate by epoch."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in history]
    groups = (
        (
            "loss",
            {
                "train_loss": "training: mixed, smoothed, all terms",
                "loss": "validation: cross-entropy",
            },
        ),
        (
            "accuracy, %",
            {
                "train_top1": "training top-1",
                "top1": "top-1",
                "top5": "top-5",
                "mean_class": "mean-class",
            },
        ),
        ("learning rate", {"lr": "learning rate"}),
    )
    for panel, (title, lines) in zip(panels, groups, strict=True):
        factor = 100.0 if "%" in title else 1.0
        for name, label in lines.items():
            values = [factor * row[name] if name in row else np.nan for row in history]
            if np.isfinite(values).any():
                line = "--" if name == "mean_class" else "-"  # in a balanced set it lies on top-1
                panel.plot(
                    epochs,
                    values,
                    line,
                    label=label,
                    marker="." if len(epochs) < 40 else "",
                    markersize=4,
                )
        panel.set_title(title)
        panel.set_xlabel("epoch")
        panel.grid(alpha=0.3)
        if len(lines) > 1 and panel.lines:
            panel.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """The confusion matrix, each row as shares of its class; names are shown up to 40 classes."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    classes = len(counts)
    side = min(16.0, 4.5 + 0.28 * classes)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    if classes <= 40:
        short = [name if len(name) <= 42 else name[:40] + "…" for name in names]
        panel.set_xticks(range(classes), short, rotation=90, fontsize=7)
        panel.set_yticks(range(classes), short, fontsize=7)
    if classes <= 20:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            panel.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=7,
                color=color,
            )
    figure.colorbar(image, ax=panel, shrink=0.6, label="share of the true class")
    _save(figure, path)


def draw_reliability(tables: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Accuracy against confidence of the top-1 class; one line a table of `metrics.reliability`, areas are shares of the clips."""
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color="gray", linestyle=":", label="perfectly calibrated")
    for color, (label, table) in zip((SECOND, INK, "#5b8c5a"), tables.items(), strict=False):
        used = table[table[:, 2] > 0]
        panel.plot(used[:, 0], used[:, 1], color=color, label=label)
        panel.scatter(used[:, 0], used[:, 1], s=15 + 500 * used[:, 2], color=color, alpha=0.5)
    panel.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, fontsize=8, loc="upper left")
    _save(figure, path)


def draw_bars(
    values: Sequence[float],
    labels: Sequence[str],
    title: str,
    path: Path,
    errors: Sequence[tuple[float, float]] = (),
) -> None:
    """Horizontal bars of accuracies in percent, the first on top; `errors` are (low, high) intervals in percent."""
    figure = Figure(figsize=(8, 1.0 + 0.32 * len(values)), layout="constrained")
    panel = figure.subplots()
    rows = np.arange(len(values))
    spread = None
    if errors:
        bounds = np.array(errors, np.float64)
        spread = np.abs(bounds.T - np.asarray(values)).clip(0)
    panel.barh(rows, values, color=INK, alpha=0.85, xerr=spread, ecolor=SECOND, capsize=3)
    panel.set_yticks(rows, labels, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel(title)
    panel.grid(axis="x", alpha=0.3)
    _save(figure, path)
