"""What must hold before the first step: processes and precision from Accelerate, a set that can be trained on."""

from __future__ import annotations

import atexit
import gc

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from numpy.typing import NDArray

from gasmcast.config import TrainConfig
from gasmcast.errors import MachineError, UsageError

__all__ = ["check_counts", "open_accelerator", "updates_per_epoch"]


def open_accelerator(train: TrainConfig) -> tuple[Accelerator, str]:
    """Processes, device and precision, as `accelerate launch` or `torchrun` say; one process without them.

    Returns:
        The accelerator, and a sentence where the precision had to change (empty otherwise).

    Raises:
        MachineError: fp16 without a GPU.
    """
    gpu = torch.cuda.is_available()
    precision, remark = train.precision, ""
    if not gpu and precision == "fp16":
        raise MachineError(
            "fp16 training needs a GPU.", "Use --set train.precision=fp32 (or bf16)."
        )
    if not gpu and precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001  # torch has no public name for it
        precision, remark = "fp32", "This CPU has no bf16 arithmetic: training in fp32."
    mixed = "no" if precision == "fp32" else precision
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:  # noqa: SLF001  # an earlier run of this process
        AcceleratorState._reset_state()  # noqa: SLF001
    accelerator = Accelerator(mixed_precision=mixed, cpu=not gpu)
    if accelerator.num_processes > 1:
        atexit.register(_leave_group)
    return accelerator, remark


def _leave_group() -> None:
    """End the threads that talk to the other processes: those that outlive the interpreter can abort a run that is done."""
    gc.collect()  # the model wrapped for many processes holds them too
    PartialState().destroy_process_group()


def updates_per_epoch(clips: int, train: TrainConfig, world: int) -> int:
    """Weight updates an epoch: whole global batches only."""
    return clips // (train.batch_size * train.accumulate * world)


def check_counts(labels: NDArray[np.integer], train: TrainConfig, world: int) -> None:
    """Whether a training set can be trained on.

    Raises:
        UsageError: no clips, a clip without a label, one class only, or fewer clips than a batch.
    """
    if len(labels) == 0:
        raise UsageError("The set has no training clips.", "Check --data.")
    if (labels < 0).any():
        raise UsageError(
            f"Training clip {int(np.flatnonzero(labels < 0)[0])} has no label.",
            "Train on an annotated split.",
        )
    if len(np.unique(labels)) < 2:
        raise UsageError(
            f"All {len(labels)} training clips are of one class.",
            "There is nothing to tell apart: add another class.",
        )
    if updates_per_epoch(len(labels), train, world) == 0:
        fits = len(labels) // (train.accumulate * world)
        smaller = f"--set train.batch_size={fits}"
        if fits == 0:
            smaller = f"--set train.batch_size=1 --set train.accumulate={len(labels) // world}"
        parts = f"{train.batch_size} clips x {train.accumulate} steps x {world} processes"
        raise UsageError(
            f"There are {len(labels)} training clips, fewer than one batch ({parts}).",
            f"Use {smaller}." if len(labels) >= world else f"Use at most {len(labels)} processes.",
        )
