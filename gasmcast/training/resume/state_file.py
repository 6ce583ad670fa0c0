"""All that a killed run needs to go on: two generations of it, so that one torn file loses no more than the minutes since the other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from gasmcast.tensorfile import TornFileError, read_tensors, write_tensors

__all__ = ["STATE", "has_state", "load_state", "save_state", "sweep_drafts"]

STATE = "state.safetensors"
PREVIOUS = "state.previous.safetensors"
FRESH = "state.fresh.safetensors"


def save_state(folder: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write a new state, then make the present one the previous one.

    Killed at any moment, or out of space, at least one whole state is left under one of the names that `load_state` tries.

    Args:
        folder: the run folder.
        tensors: weights, optimizer moments, averages, random states.
        record: position, history and settings: what JSON can hold.

    Raises:
        MachineError: no space left; both older generations are untouched.
    """
    write_tensors(folder / FRESH, tensors, {"record": json.dumps(record)})
    if (folder / STATE).exists():
        (folder / STATE).replace(folder / PREVIOUS)
    (folder / FRESH).replace(folder / STATE)


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
    """The newest whole state, or None when there is none.

    Returns:
        Tensors, record, and a sentence for each newer state that was damaged and passed over.
    """
    passed: list[str] = []
    # A whole FRESH is newer than STATE: the run was killed between writing and renaming it.
    for name in (FRESH, STATE, PREVIOUS):
        if not (folder / name).exists():
            continue
        try:
            tensors, texts = read_tensors(folder / name)
        except TornFileError as error:
            passed.append(error.what)
            continue
        return tensors, json.loads(texts["record"]), passed
    return None


def has_state(folder: Path) -> bool:
    """Whether a run was begun in the folder and can be resumed."""
    return any((folder / name).exists() for name in (FRESH, STATE, PREVIOUS))


def sweep_drafts(folder: Path) -> None:
    """Remove temporary files that a killed run left (`.<name>.<process>.safetensors` of a process that is gone)."""
    for draft in folder.glob(".*.*.safetensors"):
        process = draft.name.split(".")[-2]
        if (
            process.isdigit()
            and not Path(f"/proc/{process}").exists()
            and process != str(os.getpid())
        ):
            draft.unlink(missing_ok=True)
