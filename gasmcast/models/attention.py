"""The pieces every attention here is made of, in the explicit form that exporters keep."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DropPath", "merge_heads", "split_heads", "zero_init"]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`(N, T, D)` -> `(N, heads, T, D / heads)`."""
    n, t, d = x.shape
    return x.reshape(n, t, heads, d // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """`(N, heads, T, d)` -> `(N, T, heads * d)`."""
    n, h, t, d = x.shape
    return x.transpose(1, 2).reshape(n, t, h * d)


def zero_init(linear: nn.Linear) -> nn.Linear:
    """A residual branch's last projection starts at nothing: the block begins as the identity."""
    nn.init.zeros_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): a residual branch is left out of a whole sample at random."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`(B, ...)` -> `(B, ...)`."""
        if self.rate == 0 or not self.training:
            return x
        keep = 1 - self.rate
        mask = torch.empty(
            (x.shape[0], *[1] * (x.ndim - 1)), dtype=x.dtype, device=x.device
        ).bernoulli_(keep)
        return x * (mask / keep)
