"""Read the classes that a teacher predicts for the validation clips from a student's run folder."""

from __future__ import annotations

import json
from pathlib import Path

from gasmcast.tensorfile import read_tensors

__all__ = ["POOLED", "TEACHER_FILE", "read_opinion"]

TEACHER_FILE = "teacher.safetensors"
"""File of a run folder with the teacher's probabilities."""
POOLED = "pooled"
"""Name of the probabilities of all read-outs of a teacher together."""


def read_opinion(run: Path) -> dict[str, int]:
    """Return the teacher's class of each validation clip by the clip's id; empty without a teacher.

    Args:
        run: run folder of the student.
    """
    file = run / TEACHER_FILE
    if not file.is_file():
        return {}
    tensors, texts = read_tensors(file)
    facts = json.loads(texts["facts"])

    # Validation clips follow the training clips; those that the teacher could not read are missing.
    names = facts.get("validation", [])
    first = len(facts["clips"])
    classes = tensors[POOLED].argmax(1)
    return {
        names[int(index) - first]: int(classes[row])
        for row, index in enumerate(tensors["clips"])
        if index >= first
    }
