"""The table of a study: a line a row, written for people, spreadsheets, programs and as a picture."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gasmcast.files import write_atomic
from gasmcast.report.plots import draw_bars

__all__ = ["Line", "to_markdown", "write_tables"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One row of the table; shares 0..1. Accuracies are of the last weights: nothing was chosen on the clips that judge."""

    row: str
    trainable: int
    parameters: int
    macs: int
    seeds: dict[int, float]
    """Top-1 by seed."""
    top1: float | None
    """Mean over the seeds; None where the row could not be run."""
    interval: Interval | None
    """95 % bootstrap over clips of the mean over seeds."""
    difference: float | None
    """From the first row, clip by clip."""
    difference_interval: Interval | None
    not_run: str = ""
    """Why."""


def to_markdown(about: str, lines: list[Line]) -> str:
    """The table as Markdown."""

    def share(value: float | None, interval: Interval | None, sign: str = "") -> str:
        if value is None or interval is None:
            return ""
        return f"{100 * value:{sign}.1f} [{100 * interval[0]:{sign}.1f}, {100 * interval[1]:{sign}.1f}]"

    head = "| row | trainable, M | all, M | multiply-adds, G | top-1, % [95 %] | from the first row | by seed |\n"
    head += "|---|---:|---:|---:|---:|---:|---|\n"
    body = ""
    for line in lines:
        if line.not_run:
            body += f"| {line.row} | | | | not run: {line.not_run} | | |\n"
            continue
        seeds = ", ".join(f"{100 * value:.1f}" for value in line.seeds.values())
        sizes = f"{line.trainable / 1e6:.3f} | {line.parameters / 1e6:.2f} | {line.macs / 1e9:.3g}"
        gain = share(line.difference, line.difference_interval, "+")
        body += f"| {line.row} | {sizes} | {share(line.top1, line.interval)} | {gain} | {seeds} |\n"
    note = "Last weights, mean over seeds; intervals: 95 % bootstrap over clips, differences clip by clip.\n"
    return f"{about.strip()}\n\n{head}{body}\n{note}"


def write_tables(out: Path, about: str, lines: list[Line]) -> None:
    """table.md, table.csv, table.json and table.png."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "table.md", to_markdown(about, lines))
    write_atomic(out / "table.json", json.dumps([asdict(line) for line in lines], indent=1))
    text = io.StringIO()
    writer = csv.writer(text)
    sizes, shares = (
        ("trainable", "parameters", "macs"),
        ("top1", "low", "high", "difference", "difference_low", "difference_high"),
    )
    writer.writerow(("row", *sizes, *shares, "seeds", "not_run"))
    for line in lines:
        low, high = line.interval or ("", "")
        below, above = line.difference_interval or ("", "")
        seeds = " ".join(f"{seed}:{value:.4f}" for seed, value in line.seeds.items())
        size = (line.trainable, line.parameters, line.macs)
        writer.writerow(
            (
                line.row,
                *size,
                line.top1,
                low,
                high,
                line.difference,
                below,
                above,
                seeds,
                line.not_run,
            )
        )
    write_atomic(out / "table.csv", text.getvalue())
    drawn = [line for line in lines if line.top1 is not None and line.interval is not None]
    if drawn:
        values = [100 * (line.top1 or 0.0) for line in drawn]
        errors = [
            (100 * line.interval[0], 100 * line.interval[1]) for line in drawn if line.interval
        ]
        draw_bars(values, [line.row for line in drawn], "top-1, %", out / "table.png", errors)
