"""Building blocks shared by every attention layer, in the explicit form that exporters keep.

Attention is written as matrix products and a softmax (Vaswani et al. 2017, Attention Is All You
Need), because ONNX has no operator for the fused kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DropPath", "merge_heads", "split_heads", "zero_init"]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split channels into heads: `(N, T, D)` -> `(N, heads, T, D / heads)`."""
    n, t, d = x.shape
    return x.reshape(n, t, heads, d // heads).transpose(1, 2)  # (N, heads, T, d)


def merge_heads(x: Tensor) -> Tensor:
    """Join heads into channels: `(N, heads, T, d)` -> `(N, T, heads * d)`."""
    n, h, t, d = x.shape
    return x.transpose(1, 2).reshape(n, t, h * d)  # (N, T, D)


def zero_init(linear: nn.Linear) -> nn.Linear:
    """Zero a layer's weights in place and return it.

    The last projection of a residual branch starts at zero, so that the block starts as the
    identity (Goyal et al. 2017, Accurate, Large Minibatch SGD).
    """
    nn.init.zeros_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): drop a residual branch for whole samples at random.

    The remaining samples are scaled up, as in timm/layers/drop.py.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop or scale each sample: `(B, ...)` -> `(B, ...)`."""
        if self.rate == 0 or not self.training:
            return x

        keep = 1 - self.rate
        shape = (x.shape[0], *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
        mask = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (mask / keep)
