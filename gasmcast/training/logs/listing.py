"""Runs side by side, from what their folders hold."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from gasmcast.config import parse_config
from gasmcast.errors import UsageError
from gasmcast.files import read_json
from gasmcast.yamlfile import read_yaml

__all__ = ["list_runs", "render_runs"]

HEAD = ("run", "epochs", "top-1", "top-5", "mean", "loss", "trained", "clips/s", "hours", "git")


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """A row for each run folder in `folder` (or `folder` itself), best first; runs under way have what their `metrics.csv` holds.

    A run that has a file that cannot be read says so under `damaged`. The folds of a run's gate are part of it.
    """
    rows = []
    for config_file in sorted(folder.rglob("config.yaml")):
        run = config_file.parent
        name = run.relative_to(folder)
        if not (run / "environment.json").is_file() or name.match("gate/fold*"):
            continue
        row: dict[str, Any] = {"finished": False, "epochs": None}
        try:
            row |= _row(run)
        except UsageError as error:
            row["damaged"] = error.what
        rows.append(row | {"run": str(name)})
    return sorted(rows, key=lambda row: -row.get("top1", -1.0))


def _row(run: Path) -> dict[str, Any]:
    """What the files of a run say.

    Raises:
        UsageError: one of them is damaged.
    """
    settings = read_yaml(run / "config.yaml") or {}
    row: dict[str, Any] = {"epochs": parse_config(settings, str(run / "config.yaml")).train.epochs}
    table = run / "metrics.csv"
    if table.is_file():
        try:
            with table.open(encoding="utf-8", newline="") as stream:
                history = [
                    {name: float(value) for name, value in line.items() if value}
                    for line in csv.DictReader(stream)
                ]
        except (ValueError, TypeError, csv.Error) as error:
            raise UsageError(f"{table} is damaged ({error}).") from None
        if history:
            row |= max(history, key=lambda line: line.get("top1", 0.0)) | {"epoch": len(history)}
    sessions = read_json(run / "environment.json", list)
    if sessions and sessions[-1].get("git"):
        row["git"] = sessions[-1]["git"]["commit"][:8] + (
            "+" if sessions[-1]["git"]["changed"] else ""
        )
    if (run / "summary.json").is_file():
        row |= read_json(run / "summary.json", dict, "epoch") | {"finished": True}
    return row


def render_runs(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Rows of `list_runs` as text, a header first; an unknown figure is empty, a run that is not finished says so beside its epochs."""

    def figure(row: dict[str, Any], name: str, form: str, factor: float = 1.0) -> str:
        return form.format(factor * row[name]) if row.get(name) is not None else ""

    lines = [list(HEAD)]
    for row in rows:
        done = (
            "damaged"
            if "damaged" in row
            else f"best {row['epoch']:.0f} of {row['epochs']}"
            if row["finished"]
            else f"{row.get('epoch', 0):.0f} of {row['epochs']}, unfinished"
        )
        shares = [figure(row, name, "{:.1f}", 100) for name in ("top1", "top5", "mean_class")]
        rest = [
            figure(row, "train_loss", "{:.3f}"),
            figure(row, "trainable", "{:.2f}M", 1e-6),
            figure(row, "clips_per_s", "{:.1f}"),
        ]
        lines.append(
            [row["run"], done, *shares, *rest, figure(row, "hours", "{:.2f}"), row.get("git", "")]
        )
    return lines
