"""Objects of one training run, and what they do together: serve batches, save, write weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

import gasmcast
from gasmcast.config import Config
from gasmcast.data.clip_set import TrainingClips
from gasmcast.data.loader import Batch, ClipLoader
from gasmcast.data.sampler import RankBatches, epoch_order
from gasmcast.labels import Labels
from gasmcast.models.checkpoint import write_checkpoint
from gasmcast.training.clip_targets import ClipTargets
from gasmcast.training.distributed import Distributed
from gasmcast.training.logs.run_folder import RunFolder
from gasmcast.training.logs.terminal import Display
from gasmcast.training.optimizer import WeightAverage
from gasmcast.training.resume.snapshot import RunProgress, capture, trained_tensors
from gasmcast.training.resume.state_file import save_state

__all__ = ["TrainingRun"]


@dataclass(kw_only=True)
class TrainingRun:
    """A run from its (re)start to its end; `start.start_run` puts it together."""

    config: Config
    clips: TrainingClips
    labels: Labels
    clip_targets: ClipTargets | None
    folder: Path

    # Processes and precision
    processes: Distributed
    accelerator: Accelerator

    # Data
    loader: ClipLoader
    targets: NDArray[np.int64]
    """`(N,)` class of each training clip."""
    steps: int
    """Weight updates per epoch."""
    set_sha: str
    """Hash of the names and classes of all clips."""

    # Model and optimizer
    objective: Any
    """Model with its loss, as Accelerate has wrapped it."""
    separate_read_outs: tuple[str, ...]
    """Read-outs of a guarded model, which have targets of their own; otherwise empty."""
    optimizer: Any
    """AdamW, as Accelerate has wrapped it."""
    average: WeightAverage | None
    trainable: int
    """Number of trained parameters."""
    frozen: set[str]
    """Names of the weights that `frozen.safetensors` holds."""
    frozen_sha: str
    """SHA-256 of `frozen.safetensors`, or empty; main process only."""

    # Position and records
    progress: RunProgress
    display: Display
    records: RunFolder | None
    """Files for people; None outside the main process."""
    saved_at: float = field(default_factory=time.monotonic)
    """Monotonic time of the last saved state."""

    @property
    def lr(self) -> float:
        """Present learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def batches(self) -> Iterator[Batch]:
        """Return this process's batches from the present position to the end of the epoch."""
        train, progress = self.config.train, self.progress
        self.clips.set_epoch(progress.epoch)
        order = epoch_order(self.targets, train.seed, progress.epoch, train.balanced)
        start = progress.step * train.accumulate
        return self.loader.batches(
            RankBatches(order, train.batch_size, self.processes.rank, self.processes.world, start)
        )

    def to_device(self, clips: Any) -> Any:  # noqa: ANN401 - a tensor, or a tuple of features
        """Return a batch on the device of this process."""
        if isinstance(clips, Tensor):
            return clips.to(self.processes.device, non_blocking=True)
        return type(clips)(*(self.to_device(part) for part in clips))

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Return a context in which the model has its averaged weights, if there are any."""
        return nullcontext() if self.average is None else self.average.applied()

    def total_progress(self) -> RunProgress:
        """Return the progress with the sums of all processes; all processes must call it."""
        p = self.progress
        sums = self.processes.sum([p.clips, p.loss_sum, p.hits1, p.hits5])
        clips, loss_sum, hits1, hits5 = sums

        return replace(p, clips=int(clips), loss_sum=loss_sum, hits1=hits1, hits5=hits5)

    def save(self) -> None:
        """Write the state of the run and `last.safetensors`; all processes must call it.

        Raises:
            MachineError: no space left; the previous state is unchanged.
        """
        # Collect the state; FSDP gathers it from all processes.
        tensors, record = capture(
            accelerator=self.accelerator,
            processes=self.processes,
            objective=self.objective,
            optimizer=self.optimizer.optimizer,
            average=self.average,
            progress=self.total_progress(),
            frozen=self.frozen,
        )

        # Facts by which a resumed run is checked.
        record |= {
            "config": self.config.model_dump(mode="json"),
            "labels": list(self.labels.names),
            "steps": self.steps,
            "set": self.set_sha,
        }

        if self.processes.is_main:
            save_state(self.folder, tensors, record)
        self.write_weights("last.safetensors")
        self.saved_at = time.monotonic()

    def write_weights(self, name: str) -> None:
        """Write a checkpoint of the weights that are evaluated; all processes must call it.

        These are the averaged weights, if there are any.
        """
        # The checkpoint says which epoch it is from and how good it is.
        history = self.progress.history
        info = {
            "epoch": len(history),
            "step": self.progress.updates,
            "metrics": history[-1] if history else {},
            "gasmcast": gasmcast.__version__,
            "progress": {"best": self.progress.best, "best_epoch": self.progress.best_epoch},
        }

        # On the CPU these tensors are the weights themselves, so they are written before the
        # model gets its own weights back.
        with self.averaged_weights():
            tensors = trained_tensors(self.objective, self.frozen)
            if self.processes.is_main:
                write_checkpoint(
                    self.folder / name,
                    tensors,
                    self.config,
                    self.labels,
                    frozen=self.frozen_sha,
                    info=info,
                )
