"""Write `report.json` and `report.html`: every figure of an export, with pictures.

The page prints well, and has no script and no external link.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gasmcast.calibration.policy import Policy
from gasmcast.calibration.quantize import Recipe
from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.export.precisions.prepare import Prepared
from gasmcast.export.report.export_page import render_page
from gasmcast.files import write_atomic
from gasmcast.labels import Labels

__all__ = ["calibration_section", "clips_section", "write_reports"]


def calibration_section(prepared: Prepared, recipe: Recipe, policy: Policy) -> dict[str, Any]:
    """Return the section about calibration: its clips, and the ranges of every tensor."""
    # Candidates know their block, statistics only their tensor.
    tensors, smoothed = {}, {}
    for name, calibrated in prepared.calibrated.items():
        block_of = {candidate.activation: candidate.block for candidate in calibrated.candidates}
        tensors[name] = [
            {
                **stat.to_json(),
                "top": calibrated.tops[tensor],
                "block": block_of.get(tensor, ""),
            }
            for tensor, stat in calibrated.stats.items()
        ]
        smoothed[name] = [s.to_json() for s in calibrated.smoothed]

    # The digest of the set makes a report reproducible.
    index = prepared.stored.index
    return {
        "clips": len(prepared.stored),
        "classes": index.classes,
        "segments": prepared.segments,
        "segments_stored": index.segments,
        "head_clips": prepared.head_clips,
        "sha256": index.sha256,
        "tensors": tensors,
        "smoothed": smoothed,
        "recipe": asdict(recipe),
        "policy": asdict(policy),
    }


def clips_section(clips: Clips) -> dict[str, Any]:
    """Return the section about the clips that judged."""
    return {
        "count": len(clips),
        "origin": clips.origin,
        "labeled": clips.labels is not None,
        "unread": list(clips.unread),
    }


def write_reports(folder: Path, report: dict[str, Any], labels: Labels, clips: Clips) -> None:
    """Write both reports into a bundle's folder."""
    # Strict JSON: other readers refuse NaN.
    text = json.dumps(_to_plain(report), indent=1, allow_nan=False)
    write_atomic(folder / "report.json", text)
    write_atomic(folder / "report.html", render_page(report, labels, clips))


def _to_plain(value: Any) -> Any:  # noqa: ANN401 - a tree of JSON
    """Convert numpy's numbers to Python's; numbers that JSON lacks (infinity, NaN) become null."""
    if isinstance(value, dict):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
