"""The whole state of a run in memory, out of and back into the objects that make it up."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from gasmcast.training.average import WeightAverage

__all__ = ["Progress", "capture", "restore", "trained_tensors"]

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
PARTIAL = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


@dataclass
class Progress:
    """Where a run stands; sums are over the clips of the epoch so far and over all processes at a checkpoint."""

    epoch: int = 0
    step: int = 0
    """Weight updates done in this epoch."""
    updates: int = 0
    """Weight updates done in all."""
    clips: int = 0
    loss_sum: float = 0.0
    hits1: float = 0.0
    hits5: float = 0.0
    best: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0
    """How long the run has taken, to the last epoch's end."""
    history: list[dict[str, float]] = field(default_factory=list)


def trained_tensors(objective: nn.Module, frozen: set[str]) -> dict[str, Tensor]:
    """What a checkpoint holds: parameters that train and buffers that are no frozen backbone's, by their name in the model.

    Every process must call it (FSDP gathers the parts); the first has the tensors.
    """
    whole: dict[str, Any] = get_model_state_dict(objective, options=WHOLE)
    named = {name.removeprefix("model."): tensor for name, tensor in whole.items()}
    return {name: tensor for name, tensor in named.items() if name not in frozen}


def _random_states(device: torch.device) -> dict[str, Tensor]:
    legacy: Any = np.random.get_state(legacy=True)  # noqa: NPY002  # libraries draw from the global generator, so it is part of the state
    python = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.append(np.asarray(legacy[1], np.int64), int(legacy[2]))),
        "python": torch.tensor(python[1], dtype=torch.int64),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    numbers = states["numpy"].numpy()
    np.random.set_state(("MT19937", numbers[:-1].astype(np.uint32), int(numbers[-1]), 0, 0.0))  # noqa: NPY002  # see above
    random.setstate((3, tuple(states["python"].tolist()), None))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def capture(
    accelerator: Accelerator,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    average: WeightAverage | None,
    progress: Progress,
    frozen: set[str],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and record for `state.save_state`; every process must call it, the first one's is whole."""
    tensors = {
        f"weights/{name}": tensor for name, tensor in trained_tensors(objective, frozen).items()
    }
    whole: dict[str, Any] = get_optimizer_state_dict(
        objective, optimizer, options=WHOLE
    )  # empty in all processes but the first
    for name, leaves in whole.get("state", {}).items():
        tensors |= {f"optimizer/{name}/{leaf}": value for leaf, value in leaves.items()}
    if average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in average.tensors.items()}
    for rank, states in enumerate(gather_object([_random_states(accelerator.device)])):
        tensors |= {f"random/{rank}/{name}": tensor for name, tensor in states.items()}
    record: dict[str, Any] = {
        "progress": asdict(progress),
        "world": accelerator.num_processes,
        "groups": whole.get("param_groups", []),
    }
    if average is not None:
        record["average_updates"] = average.updates
    if accelerator.scaler is not None:
        record["scaler"] = accelerator.scaler.state_dict()
    return tensors, record


def restore(
    tensors: dict[str, Tensor],
    record: dict[str, Any],
    accelerator: Accelerator,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    average: WeightAverage | None,
) -> Progress:
    """Put a state back: the inverse of `capture`.

    With another number of processes the random states start afresh from the seed and the position; weights, moments and order go on.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        parts.setdefault(kind, {})[rest] = tensor
    weights: dict[str, Any] = {f"model.{name}": tensor for name, tensor in parts["weights"].items()}
    set_model_state_dict(objective, weights, options=PARTIAL)
    if moments := parts.get("optimizer"):
        state: dict[str, dict[str, Tensor]] = {}
        for name, tensor in moments.items():
            owner, _, leaf = name.rpartition("/")
            state.setdefault(owner, {})[leaf] = tensor
        decays = [
            group["weight_decay"] for group in optimizer.param_groups
        ]  # those of the present configuration hold
        groups = [{**group, "betas": tuple(group["betas"])} for group in record["groups"]]
        set_optimizer_state_dict(
            objective, optimizer, {"state": state, "param_groups": groups}, options=WHOLE
        )  # type: ignore[dict-item]
        for group, decay in zip(optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
    if average is not None and (kept := parts.get("average")):
        average.updates = record["average_updates"]
        for name, tensor in kept.items():
            average.tensors[name].copy_(tensor)
    if accelerator.scaler is not None and "scaler" in record:
        accelerator.scaler.load_state_dict(record["scaler"])
    progress = Progress(**record["progress"])
    prefix = f"{accelerator.process_index}/"
    own = {
        name.removeprefix(prefix): tensor
        for name, tensor in parts["random"].items()
        if name.startswith(prefix)
    }
    if record["world"] == accelerator.num_processes and own:
        _set_random_states(own, accelerator.device)
    return progress
