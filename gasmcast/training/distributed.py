"""Processes of a training run: rank, world size, device, precision and collective operations."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from gasmcast.config import TrainConfig
from gasmcast.errors import MachineError, UsageError

__all__ = ["Distributed", "open_accelerator"]

T = TypeVar("T")


class Distributed:
    """Rank, world size, device and collective operations of this process.

    The launcher (`accelerate launch` or `torchrun`) decides how many processes there are; without
    one there is a single process. No other module asks the environment or `torch.distributed`.
    Objects are cheap: all of them describe the one process group that the first one joins.
    """

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available())
        self.rank: int = state.process_index
        """Number of this process, from 0."""
        self.world: int = state.num_processes
        """Number of processes."""
        self.device: torch.device = state.device
        """Device on which this process trains."""

        # Threads of the process group would outlive the interpreter.
        if self.world > 1:
            atexit.register(_leave_group)

    @property
    def is_main(self) -> bool:
        """Return whether this process writes the files and prints the messages."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of `values` over all processes; all processes must call it."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total, torch.distributed.ReduceOp.SUM)
        return [float(value) for value in total.tolist()]

    def agree(self, flag: int) -> int:
        """Return the largest flag of all processes; all processes must call it."""
        if self.world == 1:
            return flag
        largest = torch.tensor([flag], device=self.device)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return int(largest.item())

    def gather(self, part: T) -> list[T]:
        """Return the parts of all processes, ordered by rank; all processes must call it."""
        parts = [part] * self.world
        if self.world > 1:
            torch.distributed.all_gather_object(parts, part)
        return parts


def _leave_group() -> None:
    """Stop the communication threads, which can abort a finished run at interpreter exit."""
    gc.collect()  # a model that is wrapped for several processes keeps the threads alive
    PartialState().destroy_process_group()


def open_accelerator(train: TrainConfig) -> tuple[Accelerator, str]:
    """Create the Accelerate object that wraps model and optimizer in the wanted precision.

    Args:
        train: settings of the run; `precision` and `ema` matter.

    Returns:
        The accelerator, and a note when the precision had to change (otherwise empty).

    Raises:
        MachineError: fp16 without a GPU.
        UsageError: averaged weights together with FSDP.
    """
    # Precision: what the machine can compute.
    gpu = torch.cuda.is_available()
    precision, note = train.precision, ""
    if not gpu and precision == "fp16":
        raise MachineError(
            "fp16 training needs a GPU.", "Use --set train.precision=fp32 (or bf16)."
        )
    cpu_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported  # noqa: SLF001 - no public name
    if not gpu and precision == "bf16" and not cpu_bf16():
        precision, note = "fp32", "This CPU has no bf16 arithmetic: training in fp32."

    # Accelerate keeps one precision per process. An earlier run in this process may have used
    # another one.
    mixed = "no" if precision == "fp32" else precision
    is_set = bool(AcceleratorState._shared_state)  # noqa: SLF001 - no public way to ask
    if is_set and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()  # noqa: SLF001 - no public way to reset
    accelerator = Accelerator(mixed_precision=mixed, cpu=not gpu)

    if train.ema and accelerator.distributed_type == DistributedType.FSDP:
        raise UsageError(
            "train.ema does not work with FSDP, which splits the weights.",
            "Set train.ema to 0, or use DDP.",
        )
    return accelerator, note
