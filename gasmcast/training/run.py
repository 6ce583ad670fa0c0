"""The objects of one run, put together fresh or from a checkpoint, and written back to the run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType, set_seed
from numpy.typing import NDArray
from torch import Tensor

import gasmcast
from gasmcast.config import Config
from gasmcast.data.clip_set import ClipSet, TrainingClips, set_sha
from gasmcast.data.loader import Batch, ClipLoader
from gasmcast.data.malloc import keep_memory
from gasmcast.data.sampler import RankBatches, epoch_order
from gasmcast.errors import UsageError
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import build_or_reload, frozen_names, write_checkpoint, write_frozen
from gasmcast.models.model import build_model
from gasmcast.training.average import WeightAverage
from gasmcast.training.distributed import check_counts, open_accelerator, updates_per_epoch
from gasmcast.training.logs.run_folder import RunRecord
from gasmcast.training.logs.terminal import Display
from gasmcast.training.objective import Objective
from gasmcast.training.optimizer import build_optimizer
from gasmcast.training.resume.check import find_earlier
from gasmcast.training.resume.snapshot import Progress, capture, restore, trained_tensors
from gasmcast.training.resume.state_file import save_state, sweep_drafts

__all__ = ["Session"]

FIT_CLIPS = 64


class Session:
    """A run between two stops.

    Raises:
        UsageError: the folder holds another run, a set that cannot be trained on, a checkpoint of another architecture.
        MachineError: no space left, no weights.
    """

    def __init__(
        self,
        config: Config,
        clips: TrainingClips,
        validation: ClipSet | None,
        labels: Labels,
        folder: Path,
        *,
        resume: bool,
    ) -> None:
        self.config, self.clips, self.labels, self.folder = config, clips, labels, folder
        self.accelerator, remark = open_accelerator(config.train)
        if self.accelerator.device.type == "cpu":
            keep_memory()
        self.main, self.world = self.accelerator.is_main_process, self.accelerator.num_processes
        self.display = Display(self.main)
        self.targets: NDArray[np.int64] = np.asarray(clips.labels, np.int64)
        check_counts(self.targets, config.train, self.world)
        sets = (clips,) if validation is None else (clips, validation)
        self.loader = ClipLoader(
            *sets, workers=config.train.workers, pin=self.accelerator.device.type == "cuda"
        )
        self.steps = updates_per_epoch(len(self.targets), config.train, self.world)
        self.set_sha = set_sha(clips, validation)
        found = find_earlier(
            folder, config, labels, self.set_sha, resume=resume, say=self.display.say
        )

        torch.manual_seed(config.train.seed)
        model = build_model(config) if found is None else build_or_reload(config, folder)
        self.frozen = frozen_names(model)
        self.trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if isinstance(clips, FeatureDataset):
            clips.check(model)
        model.to(self.accelerator.device)
        if found is None:
            model.fit_tap_statistics(self._fit_clips())
        objective = Objective(model, config.train)
        if config.train.ema and self.accelerator.distributed_type == DistributedType.FSDP:
            raise UsageError(
                "train.ema does not work with FSDP, which splits the weights.",
                "Set train.ema to 0, or use DDP.",
            )
        self.average = WeightAverage(objective, config.train.ema) if config.train.ema else None
        self.frozen_sha = ""
        if self.main:  # before FSDP splits the weights
            folder.mkdir(parents=True, exist_ok=True)
            sweep_drafts(folder)
            self.frozen_sha = write_frozen(folder, model)
        if config.train.compile:
            objective.compile()
        self.objective, self.optimizer = self.accelerator.prepare(
            objective, build_optimizer(objective, config.train.lr, config.train.weight_decay)
        )
        set_seed(config.train.seed * 1000 + self.accelerator.process_index + 1)
        self.progress = Progress() if found is None else self._restore(*found)

        self.record = RunRecord(folder, config, self.progress.updates) if self.main else None
        if remark:
            self.display.say(f"note: {remark}")
        self.saved_at = time.monotonic()

    def _restore(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> Progress:
        progress = restore(
            tensors,
            record,
            self.accelerator,
            self.objective,
            self.optimizer.optimizer,
            average=self.average,
        )
        if not self.main:  # the sums are those of all processes
            progress = replace(progress, clips=0, loss_sum=0.0, hits1=0.0, hits5=0.0)
        if record["steps"] != self.steps:
            # Another batch or number of processes: the same share of the epoch is done.
            share = (progress.epoch * record["steps"] + progress.step) / record["steps"]
            progress = replace(
                progress,
                step=round((share - progress.epoch) * self.steps),
                updates=round(share * self.steps),
            )
            self.display.say(
                "note: another number of steps an epoch than before: the run goes on at the same share of it."
            )
        self.display.say(
            f"Resuming at epoch {progress.epoch + 1}, step {progress.step} of {self.steps}."
        )
        return progress

    def _fit_clips(self) -> Iterator[Any]:
        train = self.config.train
        count = max(1, FIT_CLIPS // train.batch_size) * train.batch_size
        order = epoch_order(self.targets, train.seed, 0, train.balanced)[:count]
        size = min(train.batch_size, len(order))
        batches = self.loader.batches(RankBatches(order, size))
        for batch in self.display.track(
            "fitting the statistics of the taps", batches, -(-len(order) // size)
        ):
            yield self.to_device(batch.clips)

    def stream(self) -> Iterator[Batch]:
        """This process's batches from the present position to the end of the epoch."""
        train, progress = self.config.train, self.progress
        self.clips.set_epoch(progress.epoch)
        order = epoch_order(self.targets, train.seed, progress.epoch, train.balanced)
        start = progress.step * train.accumulate
        return self.loader.batches(
            RankBatches(order, train.batch_size, self.accelerator.process_index, self.world, start)
        )

    def to_device(self, clips: Any) -> Any:  # noqa: ANN401  # a tensor or features
        """A batch on the device of this process."""
        if isinstance(clips, Tensor):
            return clips.to(self.accelerator.device, non_blocking=True)
        return type(clips)(*(self.to_device(part) for part in clips))

    def totals(self) -> Progress:
        """The progress with the sums of all processes; all of them must call it."""
        p = self.progress
        own = torch.tensor(
            [p.clips, p.loss_sum, p.hits1, p.hits5],
            dtype=torch.float64,
            device=self.accelerator.device,
        )
        clips, loss_sum, hits1, hits5 = self.accelerator.reduce(own, "sum").tolist()
        return replace(p, clips=int(clips), loss_sum=loss_sum, hits1=hits1, hits5=hits5)

    def agree(self, flag: int) -> int:
        """The largest flag of all processes; all of them must call it."""
        if self.world == 1:
            return flag
        own = torch.tensor([flag], device=self.accelerator.device)
        torch.distributed.all_reduce(own, torch.distributed.ReduceOp.MAX)
        return int(own.item())

    def save(self) -> None:
        """State of the run and last weights; all processes must call it.

        Raises:
            MachineError: no space left; the state before is untouched.
        """
        tensors, record = capture(
            self.accelerator,
            self.objective,
            self.optimizer.optimizer,
            average=self.average,
            progress=self.totals(),
            frozen=self.frozen,
        )
        record |= {
            "config": self.config.model_dump(mode="json"),
            "labels": list(self.labels.names),
            "steps": self.steps,
        }
        record["set"] = self.set_sha
        if self.main:
            save_state(self.folder, tensors, record)
        self.write("last.safetensors")
        self.saved_at = time.monotonic()

    def write(self, name: str) -> None:
        """The weights that are evaluated (the averaged ones where there are), as a checkpoint; all processes must call it."""
        with self.average.applied() if self.average is not None else nullcontext():
            tensors = trained_tensors(self.objective, self.frozen)
            # On the CPU they are the weights themselves, so they are written before the model gets its own back.
            if self.main:
                self._write(name, tensors)

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        history = self.progress.history
        info = {
            "epoch": len(history),
            "step": self.progress.updates,
            "metrics": history[-1] if history else {},
            "gasmcast": gasmcast.__version__,
            "progress": {
                k: v for k, v in asdict(self.progress).items() if k in {"best", "best_epoch"}
            },
        }
        write_checkpoint(
            self.folder / name, tensors, self.config, self.labels, frozen=self.frozen_sha, info=info
        )
