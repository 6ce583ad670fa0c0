"""Result of cross-validation: what models say about clips of sources that they have not seen.

It is kept in `folds/out_of_fold.json` of the run folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_set import TrainingClips
from gasmcast.errors import UsageError
from gasmcast.evaluation.source_interval import source_interval
from gasmcast.files import read_json, write_atomic

__all__ = ["OutOfFold", "judged_clips", "read_out_of_fold", "write_out_of_fold"]

FILE = "folds/out_of_fold.json"


@dataclass(frozen=True)
class OutOfFold:
    """Figures on clips of sources that the models had not seen; shares from 0 to 1."""

    folds: int
    clips: int
    sources: int
    top1: float
    top1_interval: tuple[float, float]
    """95 % bootstrap interval over sources."""

    def __str__(self) -> str:
        low, high = (100 * value for value in self.top1_interval)
        return (
            f"Out of fold, on {self.clips} clips of {self.sources} sources that each of"
            f" {self.folds} models had not seen: top-1 {100 * self.top1:.1f} %"
            f" ({low:.1f} to {high:.1f} %, 95 % over sources)."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def write_out_of_fold(
    folder: Path,
    chosen: Sequence[NDArray[np.int64]],
    logits: Sequence[NDArray[np.floating]],
    clips: TrainingClips,
    *,
    groups: Sequence[str],
    names: Sequence[str],
) -> OutOfFold:
    """Write the result of all folds, with the answer to each clip, and return its figures.

    Args:
        folder: the run folder.
        chosen: `(N,)` positions of the clips, by fold.
        logits: `(N, classes)` logits of these clips, by fold.
        clips: the training clips.
        groups: source of each clip.
        names: class names.
    """
    answers = [
        {
            "id": clips.ids[clip],
            "source": groups[clip],
            "fold": fold,
            "label": names[clips.labels[clip]],
            "predicted": names[int(row.argmax())],
        }
        for fold, (positions, rows) in enumerate(zip(chosen, logits, strict=True))
        for clip, row in zip(positions.tolist(), rows, strict=True)
    ]
    correct = np.array([answer["label"] == answer["predicted"] for answer in answers])
    sources = [str(answer["source"]) for answer in answers]
    figures = OutOfFold(
        folds=len(chosen),
        clips=len(answers),
        sources=len(set(sources)),
        top1=float(correct.mean()),
        top1_interval=source_interval(correct, sources),
    )

    # Where the mistakes are is worth more than their number.
    classes = {}
    for name in names:
        own = [i for i, answer in enumerate(answers) if answer["label"] == name]
        if own:
            classes[name] = {
                "clips": len(own),
                "sources": len({sources[i] for i in own}),
                "top1": float(correct[own].mean()),
            }
    content = {**figures.to_json(), "classes": classes, "answers": answers}
    write_atomic(folder / FILE, json.dumps(content, indent=1))
    return figures


def read_out_of_fold(folder: Path) -> OutOfFold | None:
    """Return the figures that a run folder holds; None if it has no finished folds.

    Raises:
        UsageError: the file is damaged.
    """
    if not (folder / FILE).is_file():
        return None
    stored = read_json(folder / FILE, dict, "top1")
    try:
        low, high = stored["top1_interval"]
        return OutOfFold(
            folds=int(stored["folds"]),
            clips=int(stored["clips"]),
            sources=int(stored["sources"]),
            top1=float(stored["top1"]),
            top1_interval=(float(low), float(high)),
        )
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"{folder / FILE} is damaged.", "Remove it; the folds are scored again."
        ) from None


def judged_clips(folder: Path) -> set[tuple[str, str]]:
    """Return id and source of the clips that were judged out of fold, and then trained on.

    Raises:
        UsageError: the file of the run folder is damaged.
    """
    stored = read_json(folder / FILE, dict, "answers")
    try:
        return {(str(answer["id"]), str(answer["source"])) for answer in stored["answers"]}
    except (KeyError, TypeError):
        raise UsageError(
            f"{folder / FILE} is damaged.", "Remove it; the folds are scored again."
        ) from None
