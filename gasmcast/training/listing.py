"""Runs side by side, from what their folders hold."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml

__all__ = ["list_runs", "render_runs"]

COLUMNS = ("run", "finished", "epoch", "epochs", "top1", "top5", "mean_class", "train_loss", "trainable", "clips_per_s", "hours", "git")


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
    """Rows of `list_runs` as text, a header first, in the order of `COLUMNS`; an unknown figure is empty."""

    def cell(name: str, value: Any) -> str:  # noqa: ANN401  # JSON
        if value is None:
            return ""
        if name in {"top1", "top5", "mean_class"}:
            return f"{100 * value:.1f} %"
        if name == "trainable":
            return f"{value / 1e6:.2f} M"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return [list(COLUMNS), *([cell(name, row.get(name)) for name in COLUMNS] for row in rows)]
