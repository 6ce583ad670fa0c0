"""An exponential moving average of the weights that train (Polyak & Juditsky 1992), evaluated and kept instead of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """The average of the trainable parameters of a model, in their own type and place.

    The decay of update `t` is `min(decay, (1 + t) / (10 + t))`, so that the first, bad weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._live = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.tensors: dict[str, Tensor] = {
            name: p.detach().clone() for name, p in self._live.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, parameter in self._live.items():
            self.tensors[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, its own again afterwards, bit for bit."""
        with torch.no_grad():
            own = {name: p.detach().clone() for name, p in self._live.items()}
            for name, parameter in self._live.items():
                parameter.copy_(self.tensors[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._live.items():
                    parameter.copy_(own[name])
