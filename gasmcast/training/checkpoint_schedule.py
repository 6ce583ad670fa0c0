"""Decide when a run writes its state, and when a signal ends it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gasmcast.errors import MachineError
from gasmcast.training.logs.meter import Meter
from gasmcast.training.run import TrainingRun
from gasmcast.training.signals import StopSignal

__all__ = ["CheckpointSchedule", "Stopped"]

AGREE_EVERY = 10
"""Weight updates between two agreements of several processes."""
RECENT_S = 20.0
"""Age up to which a state is not written again at the end of an epoch."""
SAVE = 1
"""Flag on which processes agree: 0 nothing, 1 save, 2 and above the number of a stop signal."""


class Stopped(Exception):  # noqa: N818 - no error: the run ends as requested
    """A signal to this or another process ended the run; its state is saved."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number).name


class CheckpointSchedule:
    """Checkpoints of a run: by the clock, at a signal, at the end of epochs, and after failures."""

    def __init__(self, run: TrainingRun, meter: Meter, stop: StopSignal) -> None:
        self._run = run
        self._meter = meter
        self._stop = stop
        self.unsaved = False
        """Whether the state at the end of the epoch was left out because the last is recent."""

    def after_update(self) -> None:
        """Save if the clock or a signal asks for it.

        Several processes agree every few updates, so that all of them save or none.

        Raises:
            Stopped: a signal has ended the run.
        """
        run = self._run
        if run.processes.world > 1 and run.progress.updates % AGREE_EVERY:
            return

        # A signal outranks the clock, because its number is larger.
        is_due = time.monotonic() - run.saved_at > 60 * run.config.train.checkpoint_minutes
        flag = run.processes.agree(self._stop.number or (SAVE if is_due else 0))
        if flag:
            run.save()
        if flag > SAVE:
            raise Stopped(flag)

    def after_epoch(self) -> None:
        """Save at the end of an epoch, unless the last state is recent.

        Where epochs take seconds, writing a state after each would take longer than they do. A
        single process can still save when it is stopped in the validation, so it may leave the
        state out; several processes always write it, and so does the last epoch.

        Raises:
            Stopped: a signal has ended the run of several processes.
        """
        run = self._run
        is_last = run.progress.epoch + 1 == run.config.train.epochs
        is_recent = time.monotonic() - run.saved_at < RECENT_S
        self.unsaved = run.processes.world == 1 and not is_last and is_recent
        if not self.unsaved:
            run.save()

        # An epoch may have fewer updates than AGREE_EVERY.
        if run.processes.world > 1:
            self.stop_if_requested()

    def stop_if_requested(self) -> None:
        """End the run in all processes if any of them has received a signal.

        All processes must call it, so that none leaves a collective operation alone.

        Raises:
            Stopped: a signal has ended the run.
        """
        flag = self._run.processes.agree(self._stop.number)
        if flag:
            raise Stopped(flag)

    def on_batch(self, stage: str, done: int = 0, total: int = 0) -> None:  # noqa: ARG002 - unused
        """End the run between two batches of the validation; a progress callback."""
        self.stop_if_requested()

    @contextmanager
    def save_after_failure(self) -> Iterator[None]:
        """Save if a data worker dies between two updates of a single process."""
        try:
            yield
        except MachineError:
            if self._run.processes.world == 1 and self._meter.has_advanced(self._run.progress):
                self._run.save()
            raise

    @contextmanager
    def save_after_interruption(self) -> Iterator[None]:
        """Save the epoch's end that was left out, if the validation is stopped or fails."""
        try:
            yield
        except (Stopped, MachineError):
            if self.unsaved:
                self._run.save()
            raise
