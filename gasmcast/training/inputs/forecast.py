"""Forecast the time of a run that encodes its clips first, from its first rows and updates."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from gasmcast.config import Config
from gasmcast.models.model import GasmCast
from gasmcast.stopwatch import fastest_s
from gasmcast.training.inputs.fit import updates_per_epoch
from gasmcast.training.objective import Objective

__all__ = ["Forecast", "training_s"]

SETTLED_S = 10.0
"""Seconds of encoding before the forecast: the first rows pay for decoding and memory."""


class Forecast:
    """Says once, after the first seconds of encoding, how long encoding and training take."""

    def __init__(
        self,
        rows: int,
        then_s: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start a forecast.

        Args:
            rows: rows of features of all splits, stored ones included.
            then_s: seconds of the training that follows.
            say: called with the sentence.
            clock: seconds.
        """
        self._rows, self._then_s, self._say, self._clock = rows, then_s, say, clock
        self._stored: int | None = None
        self._started: tuple[float, int] | None = None
        self._is_said = False

    def update(self, done: int) -> None:
        """Take the number of rows that are done, stored ones included; call it after each batch."""
        now = self._clock()
        if self._stored is None:
            self._stored = done
        # The first batch waits for the compilation; the rate is that of the following ones.
        if self._started is None:
            if done > self._stored:
                self._started = (now, done)
            return

        began_s, began = self._started
        if self._is_said or done == began or now - began_s < SETTLED_S:
            return
        self._is_said = True
        left_s = (now - began_s) / (done - began) * (self._rows - done)
        self._say(
            f"About {_minutes(left_s + self._then_s)} left: {_minutes(left_s)} to encode,"
            f" {_minutes(self._then_s)} to train."
        )


def training_s(
    config: Config, model: GasmCast, *, width: int, clips: int, validation: int, folds: int
) -> float:
    """Return the seconds that training from features takes, from updates on random rows.

    Args:
        config: configuration of the run.
        model: the model; its weights stay as they are.
        width: numbers per row of features.
        clips: training clips.
        validation: validation clips, which every epoch judges.
        folds: cross-validation folds that are trained, too.
    """
    train = config.train
    device = next(model.parameters()).device
    targets = torch.full((train.batch_size, config.model.classes), 1 / config.model.classes)
    targets = targets.to(device)
    rows = torch.zeros(train.batch_size, width, device=device)
    objective = Objective(model, train).train()

    def update() -> None:
        objective(rows, targets).loss.backward()
        objective.zero_grad(set_to_none=True)

    def judge() -> None:
        with torch.no_grad():
            objective(rows, targets).loss.item()

    # Dropout draws numbers, and the run must draw the same ones without a forecast.
    with torch.random.fork_rng():
        rows.uniform_()
        update_s, judge_s = fastest_s(update, 2), fastest_s(judge, 2)
    objective.eval()

    updates = updates_per_epoch(clips, train, 1)
    for _ in range(folds):
        updates += updates_per_epoch(clips - clips // folds, train, 1)
    batches = updates * train.accumulate
    judged = -(-validation // train.batch_size)
    return train.epochs * (batches * update_s + judged * judge_s)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
