"""Logits of an evaluated split, stored so that a report needs no second evaluation."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.annotations import Split, read_split, usable
from gasmcast.data.clip_reader import clip_length_s
from gasmcast.data.dataset import ClipDataset
from gasmcast.errors import UsageError
from gasmcast.evaluation.evaluation import Evaluation
from gasmcast.files import atomic_path
from gasmcast.spec import ClipSpec

__all__ = ["FILE_NAME", "Predictions", "predictions_of", "read_predictions", "write_predictions"]

FILE_NAME = "predictions.npz"
_TEXTS = ("title", "data", "split", "spec")
_ARRAYS = ("names", "ids", "logits", "labels", "motion", "lengths_s")


@dataclass(frozen=True)
class Predictions:
    """Logits and properties of the N clips of a split that decode."""

    title: str
    """Classifier and split, for people."""
    data: str
    """Folder of the data set."""
    split: Split
    spec: ClipSpec
    names: tuple[str, ...]
    """Class names."""
    ids: tuple[str, ...]
    """Name of each clip."""
    logits: NDArray[np.float32]
    """`(N, classes)`, views averaged."""
    labels: NDArray[np.int64]
    """`(N,)`."""
    motion: NDArray[np.float64]
    """`(N,)` mean change between frames, in gray levels."""
    lengths_s: NDArray[np.float64]
    """`(N,)` length of each video in seconds."""

    def clips(self, rows: Sequence[int], data: Path | None = None) -> dict[int, NDArray[np.uint8]]:
        """Return the pixels of some rows, `(1+S, F, H, W, 3)` each, as far as they can be read.

        Args:
            rows: rows of the logits.
            data: folder of the set; None: the one that was evaluated.
        """
        folder = data or Path(self.data)
        wanted = {self.ids[row]: row for row in rows}
        # A run may have been copied to a machine without its data.
        try:
            samples = usable(read_split(folder, self.split), folder)
        except UsageError:
            if data is not None:
                raise
            return {}

        chosen = ClipDataset([one for one in samples if one.id in wanted], self.spec)
        pixels = {}
        for i, sample in enumerate(chosen.samples):
            clip = np.asarray(chosen[i][0].numpy())
            if sample.id not in chosen.failures():
                pixels[wanted[sample.id]] = clip
        return pixels


def predictions_of(evaluation: Evaluation, data: Path, split: Split) -> Predictions:
    """Return what is stored of an evaluation.

    Args:
        evaluation: of this split.
        data: folder of the data set.
        split: its split.
    """
    # Lengths are read from the videos, because scores do not need them.
    samples = [evaluation.clips.samples[i] for i in evaluation.positions]
    return Predictions(
        title=evaluation.title,
        data=str(data.absolute()),
        split=split,
        spec=evaluation.classifier.spec,
        names=tuple(evaluation.classifier.labels.names),
        ids=tuple(evaluation.ids),
        logits=evaluation.logits,
        labels=evaluation.labels,
        motion=evaluation.motion,
        lengths_s=np.array([clip_length_s(sample) for sample in samples]),
    )


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write the predictions as an NPZ file."""
    with atomic_path(path) as draft, draft.open("wb") as file:
        np.savez_compressed(
            file,
            title=np.array(predictions.title),
            data=np.array(predictions.data),
            split=np.array(predictions.split),
            spec=np.array(predictions.spec.model_dump_json()),
            names=np.array(predictions.names),
            ids=np.array(predictions.ids),
            logits=predictions.logits,
            labels=predictions.labels,
            motion=predictions.motion,
            lengths_s=predictions.lengths_s,
        )


def read_predictions(path: Path) -> Predictions:
    """Return the predictions of a file that `write_predictions` wrote.

    Raises:
        UsageError: it cannot be read, or its arrays do not fit each other.
    """
    # Without pickle a file can hold nothing but arrays of numbers and text.
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in (*_TEXTS, *_ARRAYS)}
        spec = ClipSpec.model_validate_json(str(stored["spec"]))
        _check_shapes(stored)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} is damaged ({error}).", "Write it again with `gasmcast eval RUN --data DIR`."
        ) from None

    split: Split = "train" if str(stored["split"]) == "train" else "validation"
    return Predictions(
        title=str(stored["title"]),
        data=str(stored["data"]),
        split=split,
        spec=spec,
        names=tuple(map(str, stored["names"])),
        ids=tuple(map(str, stored["ids"])),
        **{name: stored[name] for name in ("logits", "labels", "motion", "lengths_s")},
    )


def _check_shapes(stored: dict[str, NDArray[np.generic]]) -> None:
    count, classes = len(stored["ids"]), len(stored["names"])
    if stored["logits"].shape != (count, classes) or not np.isfinite(stored["logits"]).all():
        raise ValueError("its logits are not one finite number for each clip and class")
    if any(stored[name].shape != (count,) for name in ("labels", "motion", "lengths_s")):
        raise ValueError("its arrays have different lengths")
    if count == 0 or stored["labels"].min() < 0 or stored["labels"].max() >= classes:
        raise ValueError("its labels are no classes of it")
