"""Measure speed and waiting of a run, and sum up the figures of an epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from gasmcast.config import TrainConfig
from gasmcast.training.logs.terminal import RunStatus
from gasmcast.training.resume.snapshot import RunProgress

__all__ = ["Meter"]


class Meter:
    """Counters of this process since the (re)start of the run.

    Args:
        progress: position at the (re)start.
        clock: time in seconds.
    """

    def __init__(self, progress: RunProgress, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._first_update = progress.updates
        self._earlier_s = progress.seconds

        # Sums since the (re)start.
        self.wait_s = 0.0
        """Time spent waiting for data."""
        self.clips = 0
        """Clips of all processes."""
        self._last_validation_s = 0.0
        self._all_validations_s = 0.0

    def next(self, batches: Iterator[Any]) -> Any:  # noqa: ANN401 - a batch
        """Return the next batch and count the wait for it."""
        started = self._clock()
        batch = next(batches)
        self.wait_s += self._clock() - started
        return batch

    def count(
        self, progress: RunProgress, logits: Tensor, targets: Tensor, loss: float, world: int
    ) -> None:
        """Add a batch to the sums of the epoch; the class of a mixed target is its largest.

        Args:
            progress: holds the sums.
            logits: `(B, classes)`.
            targets: `(B, classes)` probabilities.
            loss: mean over the batch.
            world: number of processes.
        """
        # The first of the five best classes decides top-1.
        top = logits.topk(min(5, logits.shape[1])).indices  # (B, 5)
        right = top == targets.argmax(1, keepdim=True)

        # In the background every class is as likely: it has no right answer.
        answerable = targets.amax(1) > targets.amin(1)  # (B,)
        right, count = right[answerable], int(answerable.sum())

        # Sums of this process; `Distributed.sum` adds the others.
        progress.loss_sum += loss * count
        progress.hits1 += float(right[:, 0].sum())
        progress.hits5 += float(right.sum())
        progress.clips += count
        self.clips += len(logits) * world

    def count_validation(self, seconds: float) -> None:
        """Count the duration of a validation."""
        self._last_validation_s = seconds
        self._all_validations_s += seconds

    def seconds(self) -> float:
        """Return the duration of the run, including the time before the (re)start."""
        return self._earlier_s + self._clock() - self._started

    def has_advanced(self, progress: RunProgress) -> bool:
        """Return whether the run has made a weight update since its (re)start."""
        return progress.updates > self._first_update

    def rates(self) -> dict[str, float]:
        """Return `clips_per_s` of all processes and `wait_share`, the share of time without data.

        The time includes validation.
        """
        elapsed = max(self._clock() - self._started, 1e-9)
        return {"clips_per_s": self.clips / elapsed, "wait_share": self.wait_s / elapsed}

    def status(
        self, progress: RunProgress, train: TrainConfig, steps: int, lr: float, *, gpu: bool
    ) -> RunStatus:
        """Return position and figures of the run.

        Args:
            progress: position and sums.
            train: settings of the run; `epochs` matters.
            steps: weight updates per epoch.
            lr: present learning rate.
            gpu: also report the peak GPU memory.
        """
        # Validation takes the same time in each epoch, however many updates an epoch has.
        training_s = self._clock() - self._started - self._all_validations_s
        update_s = training_s / max(progress.updates - self._first_update, 1)

        updates_left = train.epochs * steps - progress.updates
        epochs_left = train.epochs - progress.epoch
        remaining_s = updates_left * update_s + epochs_left * self._last_validation_s

        count = max(progress.clips, 1)
        return RunStatus(
            epoch=progress.epoch,
            epochs=train.epochs,
            step=progress.step,
            steps=steps,
            loss=progress.loss_sum / count,
            top1=progress.hits1 / count,
            top5=progress.hits5 / count,
            lr=lr,
            memory_gib=torch.cuda.max_memory_allocated() / 2**30 if gpu else None,
            remaining_s=remaining_s,
            **self.rates(),
        )
