"""Store the temperature that `gasmcast eval` fitted for a checkpoint.

The file lies in the checkpoint's folder. An export without labeled clips of its own uses it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from gasmcast.errors import UsageError
from gasmcast.evaluation.scores import Scores
from gasmcast.files import read_json, sha256_of, write_atomic

__all__ = ["read_temperature", "write_temperature"]

FILE = "temperature.json"


def write_temperature(checkpoint: Path, scores: Scores, split: str) -> Path:
    """Store the fitted temperature with the checksum of its weights, and return the file.

    A damaged file is replaced.

    Args:
        checkpoint: weights file that was evaluated.
        scores: its scores.
        split: the split that it was evaluated on.
    """
    path = checkpoint.with_name(FILE)
    # The file holds an entry for each checkpoint of the folder.
    known: dict[str, Any] = {}
    if path.is_file():
        with suppress(UsageError):
            known = read_json(path, dict)

    # The checksum tells later whether the weights have changed since.
    known[checkpoint.name] = {
        "sha256": sha256_of(checkpoint),
        "temperature": scores.temperature,
        "split": split,
        "clips": scores.clips,
        "ece": scores.ece,
        "ece_calibrated": scores.ece_calibrated,
    }
    write_atomic(path, json.dumps(known, indent=1))
    return path


def read_temperature(checkpoint: Path, sha256: str) -> float | None:
    """Return the temperature stored for these weights; None without one for this checksum.

    Raises:
        UsageError: the file is damaged.
    """
    path = checkpoint.with_name(FILE)
    entry = read_json(path, dict).get(checkpoint.name, {}) if path.is_file() else {}
    # Training may have continued since, and other weights need another temperature.
    if entry.get("sha256") != sha256:
        return None
    if "temperature" not in entry:
        raise UsageError(
            f"{path} is damaged (no temperature of {checkpoint.name}).",
            "Run `gasmcast eval` again.",
        )
    return float(entry["temperature"])
