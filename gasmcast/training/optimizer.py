"""AdamW on the parameters that train, and its learning rate by step."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["build_optimizer", "lr_factor"]

DECAYED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, betas 0.9 and 0.999) on the trainable parameters.

    Only weights of linear and convolution layers decay; biases, norms, embeddings, scales and bias tables do not.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            (decayed if isinstance(module, DECAYED) and name == "weight" else free).append(
                parameter
            )
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)


def lr_factor(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at `step` of `steps`: linear warm-up, then half a cosine down to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
