"""The training loop: one process or many, stopped and resumed at any step with the same result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from gasmcast.config import Config
from gasmcast.data.clip_set import ClipSet, TrainingClips
from gasmcast.data.data_workers import worker_deaths
from gasmcast.errors import MachineError
from gasmcast.labels import Labels
from gasmcast.tensorfile import is_full
from gasmcast.training.checkpoint_schedule import CheckpointSchedule, Stopped
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.distributed import Distributed
from gasmcast.training.logs.meter import Meter
from gasmcast.training.run import TrainingRun
from gasmcast.training.run_lock import lock_folder
from gasmcast.training.signals import StopSignal
from gasmcast.training.start import start_run
from gasmcast.training.step import update_weights
from gasmcast.training.validation import validate

__all__ = ["train"]

LOG_EVERY = 10
"""Weight updates between two points in TensorBoard."""


@worker_deaths("--set train.workers says how many, --resume continues from the last checkpoint")
def train(
    config: Config,
    clips: TrainingClips,
    validation: ClipSet | None,
    labels: Labels,
    folder: Path,
    *,
    resume: bool = False,
    clip_targets: ClipTargets | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a model and write a run folder.

    Args:
        config: configuration of the run; `model.classes` is the number of labels.
        clips: augmented training clips.
        validation: clips evaluated after each epoch; None: the last weights are the result.
        labels: class names, stored in the checkpoints.
        folder: the run folder.
        resume: resume from the folder's newest complete state; start a new run if it has none.
        clip_targets: targets of clips that differ from their class.
        warnings: what the user was told about data and settings, for the report.

    Returns:
        The summary: figures of the best epoch, counts, speed, and `stopped` (the name of a signal,
        or empty).

    Raises:
        UsageError: the folder holds another run, another training writes into it, or the data set
            cannot be trained on.
        DivergedError: a loss or gradient is not finite.
        TornFileError: every state in the folder is damaged.
        MachineError: no space left, a worker died, or pretrained weights are not available.
    """
    # The main process locks the folder for all processes of the run.
    lock = lock_folder(folder) if Distributed().is_main else nullcontext()
    try:
        with lock:
            run = start_run(
                config,
                clips,
                validation,
                labels,
                folder,
                resume=resume,
                clip_targets=clip_targets,
                warnings=warnings,
            )
            return _train(run, validation)

    except OSError as error:
        # A full disk while a small file of the run is written; checkpoints report it themselves.
        if not is_full(error):
            raise
        raise MachineError(
            f"No space left for {folder}; its checkpoints are complete.",
            "Free some space, then use --resume.",
        ) from None


def _train(run: TrainingRun, validation: ClipSet | None) -> dict[str, Any]:
    """Run the epochs that remain and return the summary."""
    progress, meter = run.progress, Meter(run.progress)
    stopped = ""
    with StopSignal() as stop, run.display:
        schedule = CheckpointSchedule(run, meter, stop)
        try:
            # A resumed run begins within an epoch, at the step that its state holds.
            while progress.epoch < run.config.train.epochs:
                # Train: the remaining updates of the epoch.
                batches = run.batches()
                run.objective.train()
                with schedule.save_after_failure():
                    while progress.step < run.steps:
                        update_weights(run, meter, batches)
                        _log_update(run, meter)
                        schedule.after_update()
                schedule.after_epoch()

                # Validate: the figures choose the best weights.
                figures = _training_figures(run)
                started = time.monotonic()
                if validation is not None:
                    with schedule.save_after_interruption():
                        figures |= validate(run, validation, schedule.on_batch)
                meter.count_validation(time.monotonic() - started)
                _finish_epoch(run, meter, figures)

                # Weights and state belong together: both are written, or none.
                if not schedule.unsaved:
                    run.write_weights("last.safetensors")

        except Stopped as request:
            stopped = request.signal
            run.display.note(f"Stopped by {stopped}: the state is saved.")
        finally:
            if run.records is not None:
                run.records.close()
    return _summary(run, stopped)


def _training_figures(run: TrainingRun) -> dict[str, float]:
    """Return the epoch's figures on the training clips, over all processes."""
    # Several processes have trained on clips of their own.
    total = run.total_progress()
    count = max(total.clips, 1)
    return {
        "epoch": total.epoch + 1,
        "train_loss": total.loss_sum / count,
        "train_top1": total.hits1 / count,
        "train_top5": total.hits5 / count,
        "lr": run.lr,
    }


def _finish_epoch(run: TrainingRun, meter: Meter, figures: dict[str, float]) -> None:
    """Record the epoch, write the weights if they are the best, and turn to the next epoch."""
    progress = run.progress
    progress.seconds = meter.seconds()
    figures |= {**meter.rates(), "hours": progress.seconds / 3600}
    progress.history.append(figures)

    if figures.get("top1", -1.0) > progress.best:
        progress.best, progress.best_epoch = figures["top1"], progress.epoch
        run.write_weights("best.safetensors")

    # Files for people.
    run.display.epoch(progress.epoch, figures)
    if run.records is not None:
        run.records.write_epochs(progress.updates, progress.history)

    # The sums are those of one epoch.
    progress.epoch += 1
    progress.step = progress.clips = 0
    progress.loss_sum = progress.hits1 = progress.hits5 = 0.0


def _log_update(run: TrainingRun, meter: Meter) -> None:
    """Show the position of the run, in the main process."""
    if run.records is None:
        return

    on_gpu = run.processes.device.type == "cuda"
    status = meter.status(run.progress, run.config.train, run.steps, run.lr, gpu=on_gpu)
    run.display.update(status)

    # TensorBoard keeps every point, so it gets fewer.
    if run.progress.updates % LOG_EVERY == 0:
        figures = {
            "loss": status.loss,
            "lr": status.lr,
            "clips_per_s": status.clips_per_s,
            "wait_share": status.wait_share,
        }
        run.records.write_update(run.progress.updates, figures)


def _summary(run: TrainingRun, stopped: str) -> dict[str, Any]:
    """Return the result of the run, and write it if the run is finished."""
    progress, epochs = run.progress, run.config.train.epochs
    has_best = progress.best_epoch >= 0
    best: dict[str, float] = {}
    if progress.history:
        best = progress.history[progress.best_epoch if has_best else -1]

    summary = {
        **best,
        "hours": progress.seconds / 3600,
        "epochs": epochs,
        "updates": progress.updates,
        "trainable": run.trainable,
        "processes": run.processes.world,
        "checkpoint": "best.safetensors" if has_best else "last.safetensors",
        "stopped": stopped,
    }

    # An unfinished run has no summary, by which `gasmcast runs` tells them apart.
    if progress.epoch >= epochs and run.records is not None:
        run.records.finish(summary)
    return summary
