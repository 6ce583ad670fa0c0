"""One weight update: forward and backward over its batches, then a step of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np

from gasmcast.data.loader import Batch
from gasmcast.errors import GasmcastError
from gasmcast.training.logs.meter import Meter
from gasmcast.training.mixup import mix_batch
from gasmcast.training.objective import soft_targets
from gasmcast.training.optimizer import lr_factor
from gasmcast.training.resume.state_file import has_state
from gasmcast.training.run import TrainingRun

__all__ = ["DivergedError", "update_weights"]

LISTED_CLIPS = 16


class DivergedError(GasmcastError):
    """A loss or gradient is not finite."""

    exit_code = 4


def update_weights(run: TrainingRun, meter: Meter, batches: Iterator[Batch]) -> None:
    """Train on the next `train.accumulate` batches and update the weights once.

    What is drawn at random depends on the seed and the number of the update alone, so a resumed
    run draws the same.

    Args:
        run: the run; its progress is advanced by one update.
        meter: measures the wait for data and sums up the figures.
        batches: batches of this process.

    Raises:
        DivergedError: a loss or gradient is not finite; the clips of the update are named.
    """
    progress, train, augment = run.progress, run.config.train, run.config.augment
    accelerator, objective, optimizer = run.accelerator, run.objective, run.optimizer

    # The learning rate follows the number of the update.
    warmup = round(train.warmup_epochs * run.steps)
    factor = lr_factor(progress.updates, train.epochs * run.steps, warmup)
    for group in optimizer.param_groups:
        group["lr"] = train.lr * factor

    # Accumulate the gradients of the batches.
    rng = np.random.default_rng((train.seed, progress.updates, 2))
    indices: list[int] = []
    for number in range(train.accumulate):
        batch = meter.next(batches)
        indices += batch.indices.tolist()

        # Targets are probabilities, because mixed clips belong to two classes.
        targets = soft_targets(
            batch.labels.to(run.processes.device), len(run.labels), train.label_smoothing
        )
        if run.clip_targets is not None:
            ids = [run.clips.ids[i] for i in batch.indices.tolist()]
            targets = run.clip_targets.blend(targets, ids, run.separate_read_outs)
        clips, targets = mix_batch(
            run.to_device(batch.clips), targets, augment.mixup, augment.cutmix, rng
        )

        # Processes exchange gradients once per update, at its last batch.
        is_last = number == train.accumulate - 1
        with nullcontext() if is_last else accelerator.no_sync(objective):
            outcome = objective(clips, targets)
            loss = outcome.loss.item()
            if not math.isfinite(loss):
                raise _diverged("loss", run, indices)
            accelerator.backward(outcome.loss / train.accumulate)

        # Accuracy counts against the mean target where each read-out has its own.
        overall = targets if targets.dim() == 2 else targets.mean(1)  # (B, classes)
        meter.count(progress, outcome.logits.detach(), overall, loss, run.processes.world)

    # The scaler of fp16 skips an update whose gradient is not finite; nothing else does.
    norm = accelerator.clip_grad_norm_(objective.parameters(), train.clip_norm or math.inf)
    if accelerator.scaler is None and not math.isfinite(float(norm)):
        raise _diverged("gradient", run, indices)

    optimizer.step()
    optimizer.zero_grad()
    if run.average is not None:
        run.average.update()

    progress.step += 1
    progress.updates += 1


def _diverged(quantity: str, run: TrainingRun, indices: Sequence[int]) -> DivergedError:
    """Return the error that names the clips of the failed update and the checkpoint kept."""
    # A clip may have been drawn twice.
    names = [run.clips.ids[i] for i in dict.fromkeys(indices)]
    listed = ", ".join(names[:LISTED_CLIPS])
    if len(names) > LISTED_CLIPS:
        listed += f" and {len(names) - LISTED_CLIPS} more"

    checkpoint = "No checkpoint had been written yet."
    if has_state(run.folder):
        checkpoint = f"The last checkpoint before it is kept in {run.folder}."
    where = f"epoch {run.progress.epoch + 1}, step {run.progress.step + 1}"
    return DivergedError(
        f"The {quantity} is not finite at {where}; clips: {listed}.",
        f"{checkpoint} Lower train.lr, or look at these clips.",
    )
