"""One weight update: batches forward and backward, then a step of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from gasmcast.errors import UsageError
from gasmcast.training.logs.meter import Meter
from gasmcast.training.loss import soft_targets
from gasmcast.training.mixup import mix_batch
from gasmcast.training.optimizer import lr_factor
from gasmcast.training.resume.state_file import has_state
from gasmcast.training.run import Session

__all__ = ["DivergedError", "update_weights"]


class DivergedError(UsageError):
    """A loss or gradient that is not finite."""


def update_weights(session: Session, meter: Meter, stream: Iterator[Any]) -> None:
    """`train.accumulate` batches of a stream of `(clips, labels, indices)`, then a step, and the averaged weights after it.

    What is drawn in it depends on the seed and the number of the update alone, so a resumed run draws the same.

    Raises:
        DivergedError: a loss or gradient that is not finite; the clips of the update are named.
    """
    progress, train, augment = session.progress, session.config.train, session.config.augment
    accelerator, objective, optimizer = session.accelerator, session.objective, session.optimizer
    factor = lr_factor(
        progress.updates, train.epochs * session.steps, round(train.warmup_epochs * session.steps)
    )
    for group in optimizer.param_groups:
        group["lr"] = train.lr * factor
    rng = np.random.default_rng((train.seed, progress.updates, 2))
    used: list[int] = []
    for micro in range(train.accumulate):
        clips, labels, indices = meter.next(stream)
        clips, labels = session.to_device(clips), labels.to(accelerator.device)
        used += indices.tolist()
        targets = soft_targets(labels, len(session.labels), train.label_smoothing)
        clips, targets = mix_batch(clips, targets, augment.mixup, augment.cutmix, rng)
        last = micro == train.accumulate - 1
        with nullcontext() if last else accelerator.no_sync(objective):
            outcome = objective(clips, targets)
            loss = outcome.loss.item()
            if not math.isfinite(loss):
                raise _diverged("loss", session, used)
            accelerator.backward(outcome.loss / train.accumulate)
        meter.count(progress, outcome.logits.detach(), targets, loss, session.world)
    norm = accelerator.clip_grad_norm_(objective.parameters(), train.clip_norm or math.inf)
    if accelerator.scaler is None and not math.isfinite(float(norm)):
        raise _diverged("gradient", session, used)
    optimizer.step()
    optimizer.zero_grad()
    if session.average is not None:
        session.average.update()


def _diverged(what: str, session: Session, indices: Sequence[int]) -> DivergedError:
    """The error that names the clips of the update that broke, and what is kept."""
    names = [session.clips.ids[i] for i in dict.fromkeys(indices)]
    listed = ", ".join(names[:16]) + (f" and {len(names) - 16} more" if len(names) > 16 else "")
    kept = (
        f"The checkpoint before it is kept in {session.folder}."
        if has_state(session.folder)
        else "No checkpoint had been written yet."
    )
    return DivergedError(
        f"The {what} is not finite at epoch {session.progress.epoch + 1}, step {session.progress.step + 1}; clips: {listed}.",
        f"{kept} Lower train.lr, or look at these clips.",
    )
