"""Speed and waiting of this process's part of a run, and the figures that follow from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from gasmcast.config import TrainConfig
from gasmcast.training.logs.terminal import Pulse
from gasmcast.training.resume.snapshot import Progress

__all__ = ["Meter"]


class Meter:
    """Counts from a (re)start on; `clock` gives seconds."""

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._began_updates = progress.updates
        self._earlier_s = progress.seconds
        self.wait_s = 0.0
        self.clips = 0
        self._validation_s = 0.0  # the last one's
        self._validations_s = 0.0  # all of them

    def next(self, stream: Iterator[Any]) -> Any:  # noqa: ANN401  # a batch
        """The next batch; the wait for it is counted."""
        asked = self._clock()
        batch = next(stream)
        self.wait_s += self._clock() - asked
        return batch

    def count(
        self, progress: Progress, logits: Tensor, targets: Tensor, loss: float, world: int
    ) -> None:
        """Add a batch to the sums of the epoch; the class of a mixed target is its largest."""
        found = logits.topk(min(5, logits.shape[1])).indices == targets.argmax(1, keepdim=True)
        progress.loss_sum += loss * len(logits)
        progress.hits1 += float(found[:, 0].sum())
        progress.hits5 += float(found.sum())
        progress.clips += len(logits)
        self.clips += len(logits) * world

    def validated(self, seconds: float) -> None:
        """Count a validation."""
        self._validation_s = seconds
        self._validations_s += seconds

    def seconds(self) -> float:
        """How long the run has taken, with what was before the (re)start."""
        return self._earlier_s + self._clock() - self._began

    def moved(self, progress: Progress) -> bool:
        """Whether a weight update was made since the start."""
        return progress.updates > self._began_updates

    def rates(self) -> dict[str, float]:
        """`clips_per_s` of all processes and the share of the time waited for data, validation included in the time."""
        elapsed = max(self._clock() - self._began, 1e-9)
        return {"clips_per_s": self.clips / elapsed, "wait_share": self.wait_s / elapsed}

    def pulse(
        self, progress: Progress, train: TrainConfig, steps: int, lr: float, gpu: bool
    ) -> Pulse:
        """How the run stands."""
        training_s = self._clock() - self._began - self._validations_s
        per_update = training_s / max(progress.updates - self._began_updates, 1)
        count = max(progress.clips, 1)
        return Pulse(
            epoch=progress.epoch,
            epochs=train.epochs,
            step=progress.step,
            steps=steps,
            loss=progress.loss_sum / count,
            top1=progress.hits1 / count,
            top5=progress.hits5 / count,
            lr=lr,
            memory_gib=torch.cuda.max_memory_allocated() / 2**30 if gpu else None,
            remaining_s=(train.epochs * steps - progress.updates) * per_update
            + (train.epochs - progress.epoch) * self._validation_s,
            **self.rates(),
        )
