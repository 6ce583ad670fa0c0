"""Build the objects of a training run, fresh or from the state in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from numpy.typing import NDArray

from gasmcast.config import Config
from gasmcast.data.clip_set import ClipSet, TrainingClips, set_sha
from gasmcast.data.loader import ClipLoader
from gasmcast.data.malloc import keep_memory
from gasmcast.data.sampler import RankBatches, epoch_order
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import build_or_reload, frozen_names, write_frozen
from gasmcast.models.model import build_model
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.distributed import Distributed, open_accelerator
from gasmcast.training.inputs.fit import check_counts, updates_per_epoch
from gasmcast.training.logs.run_folder import RunFolder
from gasmcast.training.logs.terminal import Display, describe_loss
from gasmcast.training.objective import Objective
from gasmcast.training.optimizer import WeightAverage, build_optimizer
from gasmcast.training.resume.check import check_tensors, find_state, foreign_state
from gasmcast.training.resume.snapshot import RunProgress, restore
from gasmcast.training.resume.state_file import remove_drafts
from gasmcast.training.run import TrainingRun

__all__ = ["start_run"]

STATISTICS_CLIPS = 64


def start_run(
    config: Config,
    clips: TrainingClips,
    validation: ClipSet | None,
    labels: Labels,
    folder: Path,
    *,
    resume: bool,
    clip_targets: ClipTargets | None = None,
    warnings: Sequence[str] = (),
) -> TrainingRun:
    """Build a run; the order of the stages matters for what is drawn at random.

    Args:
        config: configuration of the run.
        clips: augmented training clips.
        validation: clips that are evaluated after each epoch, if there are any.
        labels: class names.
        folder: the run folder.
        resume: resume from the folder's newest complete state, if it holds one.
        clip_targets: targets of clips that differ from their class.
        warnings: warnings about data and settings that the user has seen, for the report.

    Raises:
        UsageError: the folder holds another run, a data set that cannot be trained on, or
            weights of another architecture.
        TornFileError: every state in the folder is damaged, or the newest is of another kind.
        MachineError: no space left, or pretrained weights are not available.
    """
    train = config.train

    # Processes and precision.
    processes = Distributed()
    accelerator, precision_note = open_accelerator(train)
    if processes.device.type == "cpu":
        keep_memory()
    display = Display(processes.is_main)

    # Data: everything that can be checked before a model is built.
    targets: NDArray[np.int64] = np.asarray(clips.labels, np.int64)
    check_counts(targets, train, processes.world)
    sets = (clips,) if validation is None else (clips, validation)
    loader = ClipLoader(*sets, workers=train.workers, pin=processes.device.type == "cuda")
    steps = updates_per_epoch(len(targets), train, processes.world)
    clips_sha = set_sha(clips, validation)

    # State to resume from; refuses a folder that holds another run.
    state = find_state(folder, config, labels, clips_sha, resume=resume, report=display.note)

    # Model: new trainable weights come from the seed, frozen ones from the run folder if it has
    # them. A fresh run measures the statistics of the taps.
    torch.manual_seed(train.seed)
    model = build_model(config) if state is None else build_or_reload(config, folder)
    frozen = frozen_names(model)
    if state is not None:
        check_tensors(state, model, frozen, folder)

    # Counted before FSDP splits the parameters.
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if isinstance(clips, FeatureDataset):
        clips.check(model)

    model.to(processes.device)
    if state is None:
        batches = _statistics_clips(config, loader, targets, display)
        model.fit_tap_statistics(batch.to(processes.device) for batch in batches)

    # Average and frozen weights are taken before FSDP splits the weights.
    objective = Objective(model, train)
    average = WeightAverage(objective, train.ema) if train.ema else None
    frozen_sha = ""
    if processes.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        remove_drafts(folder)
        frozen_sha = write_frozen(folder, model)

    # Compilation, the wrapper for several processes, and a seed of its own for each process.
    if train.compile:
        objective.compile()

    prepared, optimizer = accelerator.prepare(
        objective, build_optimizer(objective, train.lr, train.weight_decay)
    )
    set_seed(train.seed * 1000 + processes.rank + 1)

    # Weights, optimizer, average, random generators and position of the resumed run.
    progress = RunProgress()
    if state is not None:
        try:
            progress = restore(
                state.tensors,
                state.record,
                accelerator=accelerator,
                processes=processes,
                objective=prepared,
                optimizer=optimizer.optimizer,
                average=average,
            )
        # Groups and generators are checked by the libraries that take them.
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            reason = f"{type(error).__name__}: {str(error)[:80]}"
            raise foreign_state(folder, reason) from None
        progress = _rescale(progress, state.record["steps"], steps, processes, display)

    # Files for people, in the main process.
    records = RunFolder(folder, config, progress.updates, warnings) if processes.is_main else None
    if precision_note:
        display.note(f"note: {precision_note}")
    display.note(describe_loss(config, len(labels), guarded=model.head.guarded))

    return TrainingRun(
        config=config,
        clips=clips,
        labels=labels,
        clip_targets=clip_targets,
        folder=folder,
        processes=processes,
        accelerator=accelerator,
        loader=loader,
        targets=targets,
        steps=steps,
        set_sha=clips_sha,
        objective=prepared,
        separate_read_outs=model.head.read_out_names if model.head.guarded else (),
        optimizer=optimizer,
        average=average,
        trainable=trainable,
        frozen=frozen,
        frozen_sha=frozen_sha,
        progress=progress,
        display=display,
        records=records,
    )


def _statistics_clips(
    config: Config, loader: ClipLoader, targets: NDArray[np.int64], display: Display
) -> Iterator[Any]:
    """Return batches of the first training clips, from which the taps' statistics are measured."""
    train = config.train
    count = max(1, STATISTICS_CLIPS // train.batch_size) * train.batch_size

    # The clips with which the first epoch begins, in complete batches.
    order = epoch_order(targets, train.seed, 0, train.balanced)[:count]
    size = min(train.batch_size, len(order))
    batches = loader.batches(RankBatches(order, size))

    title = "fitting the statistics of the taps"
    for batch in display.track(title, batches, -(-len(order) // size)):
        yield batch.clips


def _rescale(
    progress: RunProgress, steps_before: int, steps: int, processes: Distributed, display: Display
) -> RunProgress:
    """Return the restored progress, fitted to the present number of steps per epoch."""
    # The saved sums are those of all processes: one of them continues with them.
    if not processes.is_main:
        progress = replace(progress, clips=0, loss_sum=0.0, hits1=0.0, hits5=0.0)

    # With another batch size or number of processes, the same share of the epoch is done.
    if steps_before != steps:
        share = (progress.epoch * steps_before + progress.step) / steps_before
        progress = replace(
            progress,
            step=round((share - progress.epoch) * steps),
            updates=round(share * steps),
        )
        display.note(
            "note: the number of steps per epoch has changed: the run resumes at the same share "
            "of the epoch."
        )

    display.note(f"Resuming at epoch {progress.epoch + 1}, step {progress.step} of {steps}.")
    return progress
