"""AdamW, the learning-rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage", "build_optimizer", "lr_factor"]

DECAYED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019) on the trainable parameters.

    The betas are 0.9 and 0.999. Weight decay applies to the weights of linear and convolution
    layers only, not to biases, norms, embeddings, scales and bias tables.
    """
    # Sort the parameters by the layer that owns them.
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            # A shared parameter appears under several modules.
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            decays = isinstance(module, DECAYED) and name == "weight"
            (decayed if decays else free).append(parameter)

    # A model may lack one of the two kinds.
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)


def lr_factor(step: int, steps: int, warmup: int) -> float:
    """Return the share of the peak learning rate at `step` of `steps`.

    Linear warm-up over `warmup` steps, then half a cosine down to 1 %.
    """
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


class WeightAverage:
    """Exponential moving average of the trainable weights (Polyak & Juditsky 1992).

    The decay of update `t` is `min(decay, (1 + t) / (10 + t))`, so that the poor first weights
    are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.tensors: dict[str, Tensor] = {
            name: p.detach().clone() for name, p in self._live.items()
        }
        """Averaged weights by name, in the type and on the device of the parameter."""

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, parameter in self._live.items():
            self.tensors[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the model; restore its own afterwards, bit for bit."""
        with torch.no_grad():
            trained = {name: p.detach().clone() for name, p in self._live.items()}
            for name, parameter in self._live.items():
                parameter.copy_(self.tensors[name])

        # The original values are copied back in place, so that the optimizer keeps its tensors.
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._live.items():
                    parameter.copy_(trained[name])
