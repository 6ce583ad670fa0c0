"""The training loop: one process or many, stopped and resumed at any step with the same result."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from gasmcast.config import Config
from gasmcast.data.clip_set import ClipSet, TrainingClips, worker_deaths
from gasmcast.errors import MachineError
from gasmcast.labels import Labels
from gasmcast.tensorfile import is_full
from gasmcast.training.logs.meter import Meter
from gasmcast.training.run import Session
from gasmcast.training.signals import StopSignal
from gasmcast.training.step import update_weights
from gasmcast.training.validation import validate

__all__ = ["train"]

AGREE_EVERY = 10
YOUNG_S = 20.0  # a state so young is not written again at the end of an epoch
SAVE = 1  # what processes agree on: nothing, to write a state, or by its number (2 and up) the signal to stop at


class _Stopped(Exception):  # noqa: N818  # no error, the run ends as it was asked to
    """A signal, to this process or to another of the run, asked it to end; its state is on the disk."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number).name


@worker_deaths("--set train.workers says how many, --resume goes on from the last checkpoint")
def train(
    config: Config,
    clips: TrainingClips,
    validation: ClipSet | None,
    labels: Labels,
    folder: Path,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a model and leave a run folder.

    Args:
        config: all that decides the run; `model.classes` is the number of labels.
        clips: augmented training clips.
        validation: clips evaluated after each epoch; None: the last weights are the result.
        labels: class names, kept in the checkpoints.
        folder: the run folder.
        resume: go on from the folder's newest whole state, or begin where there is none.

    Returns:
        The summary: figures of the best epoch, counts, speed, `stopped` (a signal's name, or empty).

    Raises:
        UsageError: the folder holds another run, or a set that cannot be trained on.
        DivergedError: a loss that is not finite.
        MachineError: no space left, a worker died, no weights.
    """
    try:
        session = Session(config, clips, validation, labels, folder, resume=resume)
        return _run(session, validation)
    except OSError as error:  # the small files of the run; a checkpoint says it for itself
        if not is_full(error):
            raise
        raise MachineError(
            f"No space left for {folder}; its checkpoints are whole.",
            "Free some space, then use --resume.",
        ) from None


def _run(session: Session, validation: ClipSet | None) -> dict[str, Any]:
    loop = _Loop(session, validation)
    with StopSignal() as stop, session.display:
        loop.stop = stop
        try:
            while session.progress.epoch < session.config.train.epochs:
                loop.epoch()
                loop.validate()
        except _Stopped as stopped:
            loop.stopped = stopped.signal
            session.display.say(f"Stopped by {stopped.signal}: the state is written.")
        finally:
            if session.record is not None:
                session.record.close()
    return loop.summary()


class _Loop:
    """The steps of a run; what they work on is the session's."""

    def __init__(self, session: Session, validation: ClipSet | None) -> None:
        self.session = session
        self.validation = validation
        self.stop = StopSignal()
        self.stopped = ""
        self.meter = Meter(session.progress)
        self.unsaved = False

    def epoch(self) -> None:
        """Updates to the end of the epoch, with checkpoints by the clock and at a signal, and one at the end.

        Where epochs take seconds, writing a state after each would take longer than they do: one process, which can still do it
        when it is stopped in the validation, leaves it out while the last one is young.
        """
        session, progress = self.session, self.session.progress
        stream = session.stream()
        session.objective.train()
        try:
            while progress.step < session.steps:
                update_weights(session, self.meter, stream)
                progress.step += 1
                progress.updates += 1
                if session.main:
                    self._show()
                if session.world > 1 and progress.updates % AGREE_EVERY:
                    continue
                due = (
                    time.monotonic() - session.saved_at
                    > 60 * session.config.train.checkpoint_minutes
                )
                flag = session.agree(self.stop.asked or (SAVE if due else 0))
                if flag:
                    session.save()
                if flag > SAVE:
                    raise _Stopped(flag)
        except MachineError:
            # A worker died between two updates: what was reached is whole and kept.
            if session.world == 1 and self.meter.moved(progress):
                session.save()
            raise
        last = progress.epoch + 1 == session.config.train.epochs
        self.unsaved = (
            session.world == 1 and not last and time.monotonic() - session.saved_at < YOUNG_S
        )
        if not self.unsaved:
            session.save()
        if session.world > 1:  # an epoch may have fewer updates than AGREE_EVERY
            self._stop_if_asked()

    def validate(self) -> None:
        """Evaluate, write best and last weights and the records, and turn to the next epoch."""
        session, progress = self.session, self.session.progress
        whole = session.totals()
        row = {
            "epoch": progress.epoch + 1,
            "train_loss": whole.loss_sum / max(whole.clips, 1),
            "train_top1": whole.hits1 / max(whole.clips, 1),
            "train_top5": whole.hits5 / max(whole.clips, 1),
            "lr": session.optimizer.param_groups[0]["lr"],
        }
        began = time.monotonic()
        if self.validation is not None:
            try:
                row |= validate(session, self.validation, self._watch)
            except (_Stopped, MachineError):
                if self.unsaved:
                    session.save()
                raise
        self.meter.validated(time.monotonic() - began)
        progress.seconds = self.meter.seconds()
        row |= {**self.meter.rates(), "hours": progress.seconds / 3600}
        progress.history.append(row)
        if row.get("top1", -1.0) > progress.best:
            progress.best, progress.best_epoch = row["top1"], progress.epoch
            session.write("best.safetensors")
        session.display.epoch(progress.epoch, row)
        if session.record is not None:
            session.record.epochs(progress.updates, progress.history)
        progress.epoch += 1
        progress.step = progress.clips = 0
        progress.loss_sum = progress.hits1 = progress.hits5 = 0.0
        if not self.unsaved:
            session.write("last.safetensors")

    def _watch(self, stage: str, done: int = 0, total: int = 0) -> None:  # noqa: ARG002 - the signature of a progress callback
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        """End all processes where any was asked to; all must call it, so that none leaves alone what the others do together."""
        flag = self.session.agree(self.stop.asked)
        if flag:
            raise _Stopped(flag)

    def _show(self) -> None:
        session, progress = self.session, self.session.progress
        lr = session.optimizer.param_groups[0]["lr"]
        pulse = self.meter.pulse(
            progress,
            session.config.train,
            session.steps,
            lr,
            session.accelerator.device.type == "cuda",
        )
        session.display.pulse(pulse)
        if session.record is not None and progress.updates % AGREE_EVERY == 0:
            figures = {
                "loss": pulse.loss,
                "lr": lr,
                "clips_per_s": pulse.clips_per_s,
                "wait_share": pulse.wait_share,
            }
            session.record.step(progress.updates, figures)

    def summary(self) -> dict[str, Any]:
        """What the run came to; written when it is finished."""
        session, progress = self.session, self.session.progress
        best = (
            progress.history[progress.best_epoch]
            if progress.best_epoch >= 0
            else (progress.history[-1] if progress.history else {})
        )
        finished = progress.epoch >= session.config.train.epochs
        summary = {
            **best,
            "hours": progress.seconds / 3600,
            "epochs": session.config.train.epochs,
            "updates": progress.updates,
            "trainable": session.trainable,
            "processes": session.world,
            "checkpoint": "best.safetensors" if progress.best_epoch >= 0 else "last.safetensors",
            "stopped": self.stopped,
        }
        if finished and session.record is not None:
            session.record.finish(summary)
        return summary
