"""report.json and report.html: every figure of an export, with pictures, readable on paper; no script, no link to the outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gasmcast.calibration.clip_store import CalibrationSet
from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.export.precisions.prepare import Prepared
from gasmcast.export.report.page import render_page
from gasmcast.files import write_atomic
from gasmcast.labels import Labels

__all__ = ["calibration_figures", "write_reports"]


def calibration_figures(stored: CalibrationSet, prepared: Prepared) -> dict[str, Any]:
    """What calibration saw, tensor by tensor."""
    index = stored.index
    tensors = {}
    smoothed = {}
    for name, calibrated in prepared.calibrated.items():
        block = {c.activation: c.block for c in calibrated.candidates}
        tensors[name] = [
            {**stat.to_json(), "top": calibrated.tops[t], "block": block.get(t, "")}
            for t, stat in calibrated.stats.items()
        ]
        smoothed[name] = [s.to_json() for s in calibrated.smoothed]
    return {
        "clips": len(stored),
        "classes": index.classes,
        "segments": prepared.segments,
        "segments_stored": index.segments,
        "head_clips": prepared.head_clips,
        "sha256": index.sha256,
        "tensors": tensors,
        "smoothed": smoothed,
    }


def write_reports(folder: Path, report: dict[str, Any], labels: Labels, clips: Clips) -> None:
    """Write both reports into a bundle's folder."""
    write_atomic(folder / "report.json", json.dumps(_plain(report), indent=1, allow_nan=False))
    write_atomic(folder / "report.html", render_page(report, labels, clips))


def _plain(value: Any) -> Any:  # noqa: ANN401 - a tree of JSON
    """The same for JSON: numpy's numbers as Python's, and null for what JSON has no number for (the noise of a block that gives none)."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
