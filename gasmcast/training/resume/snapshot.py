"""Complete state of a run in memory: capture it from the objects of the run, and restore it.

Each part has two functions side by side: `_capture_*` and `_restore_*`, its inverse. The tensors of
a part are named `<part>/<name>`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from gasmcast.training.distributed import Distributed
from gasmcast.training.optimizer import WeightAverage

__all__ = ["RunProgress", "capture", "restore", "trained_tensors"]

COMPLETE = StateDictOptions(full_state_dict=True, cpu_offload=True)
PARTIAL = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)

Tensors = dict[str, Tensor]


@dataclass
class RunProgress:
    """Position of a run, and the sums of the present epoch.

    The sums are this process's while the run goes on, and those of all processes in a checkpoint.
    """

    epoch: int = 0
    step: int = 0
    """Weight updates in this epoch."""
    updates: int = 0
    """Weight updates in total."""
    clips: int = 0
    loss_sum: float = 0.0
    hits1: float = 0.0
    hits5: float = 0.0
    best: float = -1.0
    """Best validation top-1 so far, as a share."""
    best_epoch: int = -1
    seconds: float = 0.0
    """Duration of the run up to the end of the last epoch."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Figures of each finished epoch."""


def capture(
    *,
    accelerator: Accelerator,
    processes: Distributed,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    progress: RunProgress,
    frozen: set[str],
) -> tuple[Tensors, dict[str, Any]]:
    """Return tensors and record for `state_file.save_state`.

    All processes must call it; the tensors of the main process are complete.

    Args:
        accelerator: holds the scaler of fp16 training.
        processes: the processes of the run.
        objective: the prepared model with its loss.
        optimizer: the optimizer itself, not Accelerate's wrapper.
        average: averaged weights, if there are any.
        progress: position of the run, with the sums of all processes.
        frozen: names of frozen weights, which `frozen.safetensors` holds.
    """
    # Parts that are always there.
    optimizer_tensors, groups = _capture_optimizer(objective, optimizer)
    parts = {
        "weights": trained_tensors(objective, frozen),
        "optimizer": optimizer_tensors,
        "random": _capture_random(processes),
    }
    record: dict[str, Any] = {
        "progress": asdict(progress),
        "world": processes.world,
        "groups": groups,
    }

    # Parts that depend on the configuration.
    if average is not None:
        parts["average"] = average.tensors
        record["average_updates"] = average.updates
    if accelerator.scaler is not None:
        record["scaler"] = accelerator.scaler.state_dict()

    tensors = {
        f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()
    }
    return tensors, record


def restore(
    tensors: Tensors,
    record: dict[str, Any],
    *,
    accelerator: Accelerator,
    processes: Distributed,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
) -> RunProgress:
    """Put a captured state back into the objects of a run: the inverse of `capture`.

    With another number of processes, the random states start again from the seed and the
    position; weights, optimizer state and the order of the clips continue.
    """
    parts: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor

    # In the order of `capture`; random generators last, so that nothing draws from them
    # before the training does.
    _restore_weights(objective, parts["weights"])
    _restore_optimizer(objective, optimizer, parts.get("optimizer", {}), record["groups"])
    if average is not None and "average" in parts:
        _restore_average(average, parts["average"], record["average_updates"])
    if accelerator.scaler is not None and "scaler" in record:
        accelerator.scaler.load_state_dict(record["scaler"])

    if record["world"] == processes.world:
        _restore_random(parts["random"], processes)
    return RunProgress(**record["progress"])


def trained_tensors(objective: nn.Module, frozen: set[str]) -> Tensors:
    """Return what a checkpoint holds, by name in the model: all tensors that are not frozen.

    All processes must call it, because FSDP gathers the parts; the main process has the tensors.
    """
    complete: dict[str, Any] = get_model_state_dict(objective, options=COMPLETE)
    named = {name.removeprefix("model."): tensor for name, tensor in complete.items()}
    return {name: tensor for name, tensor in named.items() if name not in frozen}


def _restore_weights(objective: nn.Module, weights: Tensors) -> None:
    """Load trained weights: the inverse of `trained_tensors`."""
    named: dict[str, Any] = {f"model.{name}": tensor for name, tensor in weights.items()}
    set_model_state_dict(objective, named, options=PARTIAL)


def _capture_optimizer(
    objective: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Tensors, list[dict[str, Any]]]:
    """Return moments as `<parameter>/<moment>` and groups; empty outside the main process."""
    complete: dict[str, Any] = get_optimizer_state_dict(objective, optimizer, options=COMPLETE)
    moments = {
        f"{parameter}/{moment}": tensor
        for parameter, state in complete.get("state", {}).items()
        for moment, tensor in state.items()
    }
    return moments, complete.get("param_groups", [])


def _restore_optimizer(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    moments: Tensors,
    groups: list[dict[str, Any]],
) -> None:
    """Load moments and groups; the weight decay stays that of the present configuration."""
    if not moments:
        return
    state: dict[str, Tensors] = {}
    for name, tensor in moments.items():
        parameter, _, moment = name.rpartition("/")
        state.setdefault(parameter, {})[moment] = tensor

    # JSON has turned the betas into lists.
    groups = [{**group, "betas": tuple(group["betas"])} for group in groups]
    complete: dict[str, Any] = {"state": state, "param_groups": groups}

    decays = [group["weight_decay"] for group in optimizer.param_groups]
    set_optimizer_state_dict(objective, optimizer, complete, options=COMPLETE)
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay


def _restore_average(average: WeightAverage, tensors: Tensors, updates: int) -> None:
    """Load averaged weights in place."""
    average.updates = updates
    for name, tensor in tensors.items():
        average.tensors[name].copy_(tensor)


def _capture_random(processes: Distributed) -> Tensors:
    """Return the states of all random generators of all processes, as `<rank>/<generator>`."""
    tensors: Tensors = {}
    for rank, states in enumerate(processes.gather(_random_states(processes.device))):
        tensors |= {f"{rank}/{name}": tensor for name, tensor in states.items()}
    return tensors


def _restore_random(tensors: Tensors, processes: Distributed) -> None:
    """Set the random generators of this process to the captured states."""
    prefix = f"{processes.rank}/"
    states = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    if states:
        _set_random_states(states, processes.device)


def _random_states(device: torch.device) -> Tensors:
    """Return the states of the global generators of torch, NumPy, Python and the GPU."""
    # Libraries draw from the global generators, so these are part of the state.
    legacy: Any = np.random.get_state(legacy=True)  # noqa: NPY002 - the global generator
    key, position = np.asarray(legacy[1], np.int64), int(legacy[2])
    python = random.getstate()

    # Tensors, so that they fit into the state file.
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.append(key, position)),
        "python": torch.tensor(python[1], dtype=torch.int64),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the global generators: the inverse of `_random_states`."""
    torch.set_rng_state(states["torch"])
    numbers = states["numpy"].numpy()
    key, position = numbers[:-1].astype(np.uint32), int(numbers[-1])
    np.random.set_state(("MT19937", key, position, 0, 0.0))  # noqa: NPY002 - see _random_states
    random.setstate((3, tuple(states["python"].tolist()), None))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
