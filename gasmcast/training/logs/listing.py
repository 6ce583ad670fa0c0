"""List run folders side by side."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from gasmcast.config import parse_config
from gasmcast.errors import UsageError
from gasmcast.evaluation.out_of_fold import read_out_of_fold
from gasmcast.files import read_json
from gasmcast.yamlfile import read_yaml

__all__ = ["IMPORTANCE", "list_runs", "read_metrics", "read_run", "render_runs"]

HEAD = (
    "run",
    "epochs",
    "top-1",
    "top-5",
    "mean-class",
    "out of fold",
    "loss",
    "trained",
    "clips/s",
    "hours",
    "git",
)
IMPORTANCE = (
    "run",
    "top-1",
    "out of fold",
    "epochs",
    "mean-class",
    "top-5",
    "loss",
    "hours",
    "trained",
    "git",
    "clips/s",
)
"""Columns by importance: a narrow terminal shows those that fit."""


_SHARES = ("top1", "top5", "mean_class", "out_of_fold_top1")


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each run folder in `folder` (or `folder` itself), best first.

    Unfinished runs have the figures of their `metrics.csv`. A run with an unreadable file has the
    reason under `damaged`. Cross-validation folds belong to their run and are not listed.
    """
    rows = []
    for config_file in sorted(folder.rglob("config.yaml")):
        run = config_file.parent
        name = run.relative_to(folder)
        if not (run / "environment.json").is_file() or name.match("folds/fold*"):
            continue

        # A damaged run must not hide the others.
        row: dict[str, Any] = {"finished": False, "epochs": None}
        try:
            row |= read_run(run)
        except UsageError as error:
            row["damaged"] = error.what
        rows.append(row | {"run": str(name)})

    return sorted(rows, key=lambda row: -row.get("top1", row.get("out_of_fold_top1", -1.0)))


def read_run(run: Path) -> dict[str, Any]:
    """Return the figures that the files of a run hold.

    Raises:
        UsageError: a file is damaged.
    """
    settings = read_yaml(run / "config.yaml") or {}
    row: dict[str, Any] = {"epochs": parse_config(settings, str(run / "config.yaml")).train.epochs}

    # The best epoch so far; the summary of a finished run replaces it below.
    history = read_metrics(run / "metrics.csv")
    if history:
        best = max(history, key=lambda figures: figures.get("top1", 0.0))
        row |= best
        row["epoch"] = len(history)

    starts = read_json(run / "environment.json", list)
    if starts and starts[-1].get("git"):
        git = starts[-1]["git"]
        row["git"] = git["commit"][:8] + ("+" if git["changed"] else "")

    # Clips of other sources than those that the models have seen.
    judged = read_out_of_fold(run)
    if judged is not None:
        row["out_of_fold_top1"] = judged.top1
        row["out_of_fold_interval"] = list(judged.top1_interval)

    if (run / "summary.json").is_file():
        row |= read_json(run / "summary.json", dict, "epoch") | {"finished": True}
    return row


def read_metrics(table: Path) -> list[dict[str, float]]:
    """Return the figures of each epoch in `metrics.csv`; none without the file.

    Raises:
        UsageError: the file is damaged.
    """
    if not table.is_file():
        return []

    # Cells are empty where an epoch has no such figure.
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return [
                {name: float(value) for name, value in line.items() if value}
                for line in csv.DictReader(file)
            ]
    except (ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"{table} is damaged ({error}).") from None


def render_runs(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return rows of `list_runs` as text, a header first; unknown figures are empty."""

    def figure(row: dict[str, Any], name: str, form: str, factor: float = 1.0) -> str:
        return form.format(factor * row[name]) if row.get(name) is not None else ""

    lines = [list(HEAD)]
    for row in rows:
        # Shares become percent, as in all tables.
        percents = [figure(row, name, "{:.1f}", 100) for name in _SHARES]
        lines.append(
            [
                row["run"],
                _render_epochs(row),
                *percents,
                figure(row, "train_loss", "{:.3f}"),
                figure(row, "trainable", "{:.2f}M", 1e-6),
                figure(row, "clips_per_s", "{:.1f}"),
                figure(row, "hours", "{:.2f}"),
                row.get("git", ""),
            ]
        )
    return lines


def _render_epochs(row: dict[str, Any]) -> str:
    """Return the best or present epoch of a run as text."""
    if "damaged" in row:
        return "damaged"
    if row["finished"]:
        return f"best {row['epoch']:.0f} of {row['epochs']}"
    return f"{row.get('epoch', 0):.0f} of {row['epochs']}, unfinished"
