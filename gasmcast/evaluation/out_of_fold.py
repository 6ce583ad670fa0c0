"""Result of cross-validation: what models say about clips of sources that they have not seen.

It is kept in `folds/out_of_fold.json` of the run folder, and the logits beside it. The final model
is trained on these clips, so its own logits of them cannot calibrate it; those out of fold can.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gasmcast.data.clip_set import TrainingClips
from gasmcast.data.sample import Sample
from gasmcast.data.source_interval import source_interval
from gasmcast.errors import UsageError
from gasmcast.files import read_json, write_atomic
from gasmcast.tensorfile import TornFileError, read_tensors, write_tensors

__all__ = [
    "OutOfFold",
    "OutOfFoldLogits",
    "count_trained",
    "read_logits",
    "read_out_of_fold",
    "write_out_of_fold",
]

FILE = "folds/out_of_fold.json"
LOGITS_FILE = "folds/out_of_fold.safetensors"


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


class OutOfFoldLogits(NamedTuple):
    """Logits of clips, by models that had not seen their sources."""

    logits: NDArray[np.float32]
    """`(N, classes)`."""
    labels: NDArray[np.int64]
    """`(N,)`."""


def write_out_of_fold(
    folder: Path,
    chosen: Sequence[NDArray[np.int64]],
    logits: Sequence[NDArray[np.floating]],
    clips: TrainingClips,
    *,
    groups: Sequence[str],
    names: Sequence[str],
) -> OutOfFold:
    """Write the result of all folds, with answer and logits of each clip, and return its figures.

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
    # The JSON file comes last: with it the folds are finished.
    labels = [clips.labels[clip] for positions in chosen for clip in positions.tolist()]
    tensors = {
        "logits": torch.tensor(np.concatenate(logits), dtype=torch.float32),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }
    (folder / LOGITS_FILE).parent.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / LOGITS_FILE, tensors, {})
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


def read_logits(folder: Path, classes: int) -> OutOfFoldLogits | None:
    """Return the logits out of fold of a run folder; None without any, as in older runs.

    Args:
        folder: the run folder.
        classes: number of classes of its model.

    Raises:
        UsageError: the file is damaged.
    """
    file = folder / LOGITS_FILE
    if not file.is_file():
        return None
    try:
        tensors, _ = read_tensors(file)
        logits, labels = tensors["logits"].numpy(), tensors["labels"].numpy()
    except (TornFileError, KeyError):
        raise UsageError(
            f"{file} is damaged.", "Remove it; nothing is fitted on it then."
        ) from None
    if logits.shape != (len(labels), classes):
        raise UsageError(f"{file} is of other classes.", "Remove it; nothing is fitted on it then.")
    return OutOfFoldLogits(logits, labels)


def count_trained(folder: Path, clips: Sequence[Sample]) -> int:
    """Return how many of the clips the final model of a run with folds was trained on.

    Args:
        folder: the run folder. Without finished folds, nothing is known and the count is 0.
        clips: clips of a data set.

    Raises:
        UsageError: the file of the run folder is damaged.
    """
    if not (folder / FILE).is_file():
        return 0
    trained = _judged_clips(folder)
    return sum((clip.id, clip.source or clip.id) in trained for clip in clips)


def _judged_clips(folder: Path) -> set[tuple[str, str]]:
    """Return id and source of the clips that were judged out of fold, and then trained on."""
    stored = read_json(folder / FILE, dict, "answers")
    try:
        return {(str(answer["id"]), str(answer["source"])) for answer in stored["answers"]}
    except (KeyError, TypeError):
        raise UsageError(
            f"{folder / FILE} is damaged.", "Remove it; the folds are scored again."
        ) from None
