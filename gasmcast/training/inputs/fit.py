"""Fit the settings of a run to its data set: number of epochs, batch size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gasmcast.config import TrainConfig
from gasmcast.errors import UsageError

__all__ = ["check_counts", "fit_epochs", "updates_per_epoch"]


def updates_per_epoch(clips: int, train: TrainConfig, world: int) -> int:
    """Return the number of weight updates per epoch; only whole global batches count."""
    return clips // (train.batch_size * train.accumulate * world)


def fit_epochs(train: TrainConfig, clips: int, world: int) -> TrainConfig:
    """Return the settings with enough epochs for `train.min_updates` weight updates.

    A classifier needs a number of updates, and an epoch of a hundred clips has only seven.

    Args:
        train: settings of the run; `epochs` is never reduced.
        clips: number of training clips.
        world: number of processes.
    """
    steps = max(1, updates_per_epoch(clips, train, world))
    needed = -(-train.min_updates // steps)
    return train.model_copy(update={"epochs": max(train.epochs, needed)})


def check_counts(labels: NDArray[np.integer], train: TrainConfig, world: int) -> None:
    """Check that a training set has labels, several classes and at least one global batch.

    Args:
        labels: `(N,)` class numbers, -1 for none.
        train: settings of the run; `batch_size` and `accumulate` matter.
        world: number of processes.

    Raises:
        UsageError: no clips, a clip without a label, a single class, or fewer clips than a batch.
    """
    # Labels: there must be something to tell apart.
    if len(labels) == 0:
        raise UsageError("The set has no training clips.", "Check --data.")
    if (labels < 0).any():
        unlabeled = int(np.flatnonzero(labels < 0)[0])
        raise UsageError(f"Training clip {unlabeled} has no label.", "Train on an annotated split.")
    if len(np.unique(labels)) < 2:
        raise UsageError(
            f"All {len(labels)} training clips are of one class.",
            "There is nothing to tell apart: add another class.",
        )

    # Size: an epoch needs at least one update.
    if updates_per_epoch(len(labels), train, world) == 0:
        batch = f"{train.batch_size} clips x {train.accumulate} steps x {world} processes"
        raise UsageError(
            f"There are {len(labels)} training clips, fewer than one batch ({batch}).",
            _smaller_batch(len(labels), train, world),
        )


def _smaller_batch(clips: int, train: TrainConfig, world: int) -> str:
    """Return a hint with settings whose global batch has at most `clips` clips."""
    if clips < world:
        return f"Use at most {clips} processes."
    fitting = clips // (train.accumulate * world)
    if fitting:
        return f"Use --set train.batch_size={fitting}."
    return f"Use --set train.batch_size=1 --set train.accumulate={clips // world}."
