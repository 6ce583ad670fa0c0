"""Table of a study, written as Markdown, CSV, JSON and a picture."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import bootstrap_interval
from gasmcast.files import write_atomic
from gasmcast.models.counts import Counts
from gasmcast.report.figures import save_figure
from gasmcast.report.plots import draw_bars

__all__ = ["Hits", "TableRow", "failed_row", "finished_row", "to_markdown", "write_tables"]

Interval = tuple[float, float]
Hits = NDArray[np.bool_]
"""`(N,)` whether each validation clip is recognized."""

HEADER = (
    "| row | trainable, M | all, M | multiply-adds, G | top-1, % [95 %] | from the first row "
    "| by seed |\n"
    "|---|---:|---:|---:|---:|---:|---|\n"
)
NOTE = (
    "Last weights, mean over seeds; intervals: 95 % bootstrap over clips, differences clip by "
    "clip.\n"
)
CSV_COLUMNS = (
    "row",
    "trainable",
    "parameters",
    "macs",
    "top1",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "seeds",
    "not_run",
)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """Size and accuracy of one row of a study; accuracies are shares from 0 to 1.

    Accuracies are those of the last weights: nothing was chosen on the clips that are evaluated.
    """

    row: str
    trainable: int
    """Trained parameters."""
    parameters: int
    """All parameters."""
    macs: int
    """Multiply-adds per window."""
    seeds: dict[int, float] = field(default_factory=dict)
    """Top-1 by seed."""
    top1: float | None = None
    """Mean over the seeds; None if the row could not be run."""
    interval: Interval | None = None
    """95 % bootstrap interval over clips of the mean over seeds."""
    difference: float | None = None
    """Difference from the first row, clip by clip."""
    difference_interval: Interval | None = None
    not_run: str = ""
    """Reason why the row could not be run."""


def finished_row(
    name: str, counts: Counts, seed_hits: dict[int, Hits], first: NDArray[np.float64] | None
) -> TableRow:
    """Return the table row of a row that was trained.

    Args:
        name: name of the row.
        counts: size of its model.
        seed_hits: recognized validation clips by seed.
        first: `(N,)` mean over the seeds of the first row; None for the first row itself.
    """
    # Clip by clip, so that differences between rows are paired.
    mean = np.mean(list(seed_hits.values()), axis=0)  # (N,)
    difference = None if first is None else mean - first

    return TableRow(
        row=name,
        trainable=counts.parameters.trainable,
        parameters=counts.parameters.total,
        macs=counts.macs.total,
        seeds={seed: float(recognized.mean()) for seed, recognized in seed_hits.items()},
        top1=float(mean.mean()),
        interval=bootstrap_interval(mean),
        difference=None if difference is None else float(difference.mean()),
        difference_interval=None if difference is None else bootstrap_interval(difference),
    )


def failed_row(name: str, counts: Counts, reason: str) -> TableRow:
    """Return the table row of a row that could not be trained."""
    return TableRow(
        row=name,
        trainable=counts.parameters.trainable,
        parameters=counts.parameters.total,
        macs=counts.macs.total,
        not_run=reason,
    )


def to_markdown(about: str, rows: list[TableRow]) -> str:
    """Return the table as Markdown."""
    body = "".join(_markdown_row(row) for row in rows)
    return f"{about.strip()}\n\n{HEADER}{body}\n{NOTE}"


def _markdown_row(row: TableRow) -> str:
    """Return one line of the Markdown table."""
    if row.not_run:
        return f"| {row.row} | | | | not run: {row.not_run} | | |\n"
    sizes = f"{row.trainable / 1e6:.3f} | {row.parameters / 1e6:.2f} | {row.macs / 1e9:.3g}"
    top1 = _percent(row.top1, row.interval)
    difference = _percent(row.difference, row.difference_interval, sign="+")
    seeds = ", ".join(f"{100 * value:.1f}" for value in row.seeds.values())
    return f"| {row.row} | {sizes} | {top1} | {difference} | {seeds} |\n"


def _percent(value: float | None, interval: Interval | None, sign: str = "") -> str:
    """Return a share with its interval in percent; empty if it is unknown."""
    if value is None or interval is None:
        return ""
    low, high = interval
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def write_tables(out: Path, about: str, rows: list[TableRow]) -> None:
    """Write table.md, table.csv, table.json and table.png.

    Args:
        out: folder of the study.
        about: title of the table.
        rows: the rows so far.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "table.md", to_markdown(about, rows))
    write_atomic(out / "table.json", json.dumps([asdict(row) for row in rows], indent=1))
    write_atomic(out / "table.csv", _to_csv(rows))

    # The picture shows the rows that were run.
    names, values, intervals = [], [], []
    for row in rows:
        if row.top1 is not None and row.interval is not None:
            names.append(row.row)
            values.append(100 * row.top1)
            intervals.append((100 * row.interval[0], 100 * row.interval[1]))

    if names:
        save_figure(draw_bars(values, names, "top-1, %", intervals), out / "table.png")


def _to_csv(rows: list[TableRow]) -> str:
    """Return the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)

    # Intervals take two columns each; unknown figures are empty.
    for row in rows:
        low, high = row.interval or ("", "")
        difference_low, difference_high = row.difference_interval or ("", "")
        seeds = " ".join(f"{seed}:{value:.4f}" for seed, value in row.seeds.items())
        writer.writerow(
            (
                row.row,
                row.trainable,
                row.parameters,
                row.macs,
                row.top1,
                low,
                high,
                row.difference,
                difference_low,
                difference_high,
                seeds,
                row.not_run,
            )
        )
    return text.getvalue()
