"""State of a run on the disk, in two generations.

A damaged file costs no more than the minutes since the other generation was written.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gasmcast.tensorfile import TornFileError, read_tensors, write_tensors

__all__ = ["SavedState", "has_state", "load_state", "remove_drafts", "save_state"]

STATE = "state.safetensors"
PREVIOUS = "state.previous.safetensors"
FRESH = "state.fresh.safetensors"


@dataclass(frozen=True)
class SavedState:
    """State of a run as a file holds it."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]
    """Position, history and settings."""
    damaged: tuple[str, ...]
    """A sentence for each newer file that was damaged and skipped."""


def save_state(folder: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write a new state, then make the present one the previous one.

    If the process is killed at any moment, or the disk is full, at least one complete state remains
    under one of the names that `load_state` tries.

    Args:
        folder: the run folder.
        tensors: weights, optimizer moments, averages, random states.
        record: position, history and settings; must be JSON.

    Raises:
        MachineError: no space left; both older generations are unchanged.
    """
    write_tensors(folder / FRESH, tensors, {"record": json.dumps(record)})
    if (folder / STATE).exists():
        (folder / STATE).replace(folder / PREVIOUS)
    (folder / FRESH).replace(folder / STATE)


def load_state(folder: Path) -> SavedState | None:
    """Return the newest complete state of a run folder, or None if there is none."""
    damaged: list[str] = []

    # A complete FRESH is newer than STATE: the run was killed between writing and renaming it.
    for name in (FRESH, STATE, PREVIOUS):
        if not (folder / name).exists():
            continue

        # A damaged file is reported, and the next older one is tried.
        try:
            tensors, texts = read_tensors(folder / name)
        except TornFileError as error:
            damaged.append(error.what)
            continue

        return SavedState(tensors, json.loads(texts["record"]), tuple(damaged))
    return None


def has_state(folder: Path) -> bool:
    """Return whether the folder holds the state of a run, complete or damaged."""
    return any((folder / name).exists() for name in (FRESH, STATE, PREVIOUS))


def remove_drafts(folder: Path) -> None:
    """Remove temporary files that a killed run left behind.

    They are named `.<name>.<process id>.safetensors`; those of living processes stay.
    """
    for draft in folder.glob(".*.*.safetensors"):
        process = draft.name.split(".")[-2]
        if not process.isdigit() or process == str(os.getpid()):
            continue
        if not Path(f"/proc/{process}").exists():
            draft.unlink(missing_ok=True)
