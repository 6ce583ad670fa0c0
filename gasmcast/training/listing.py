"""Runs side by side, from what their folders hold."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml

__all__ = ["list_runs", "render_runs"]

HEAD = ("run", "epochs", "top-1", "top-5", "mean", "loss", "trained", "clips/s", "hours", "git")


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """A row for each run folder in `folder` (or `folder` itself), best first; runs under way have what their `metrics.csv` holds."""
    rows = []
    for config_file in sorted(folder.rglob("config.yaml")):
        run = config_file.parent
        if not (run / "environment.json").is_file():
            continue
        settings = yaml.safe_load(config_file.read_text(encoding="utf-8")) or {}
        row: dict[str, Any] = {"run": str(run.relative_to(folder)), "finished": False, "epochs": settings.get("train", {}).get("epochs")}
        if (run / "metrics.csv").is_file():
            with (run / "metrics.csv").open(encoding="utf-8", newline="") as stream:
                history = [{name: float(value) for name, value in line.items() if value} for line in csv.DictReader(stream)]
            if history:
                row |= max(history, key=lambda line: line.get("top1", 0.0)) | {"epoch": len(history)}
        sessions = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        if sessions and sessions[-1].get("git"):
            row["git"] = sessions[-1]["git"]["commit"][:8] + ("+" if sessions[-1]["git"]["changed"] else "")
        if (run / "summary.json").is_file():
            row |= json.loads((run / "summary.json").read_text(encoding="utf-8")) | {"finished": True}
        rows.append(row | {"run": str(run.relative_to(folder))})
    return sorted(rows, key=lambda row: -row.get("top1", -1.0))


def render_runs(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Rows of `list_runs` as text, a header first; an unknown figure is empty, a run that is not finished says so beside its epochs."""

    def figure(row: dict[str, Any], name: str, form: str, factor: float = 1.0) -> str:
        return form.format(factor * row[name]) if row.get(name) is not None else ""

    lines = [list(HEAD)]
    for row in rows:
        done = (
            f"best {row['epoch']:.0f} of {row['epochs']}"
            if row["finished"]
            else f"{row.get('epoch', 0):.0f} of {row['epochs']}, unfinished"
        )
        shares = [figure(row, name, "{:.1f}", 100) for name in ("top1", "top5", "mean_class")]
        rest = [figure(row, "train_loss", "{:.3f}"), figure(row, "trainable", "{:.2f}M", 1e-6), figure(row, "clips_per_s", "{:.1f}")]
        lines.append([row["run"], done, *shares, *rest, figure(row, "hours", "{:.2f}"), row.get("git", "")])
    return lines
