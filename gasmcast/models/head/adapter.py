"""The temporal adapter: give a frame-wise transformer temporal context with few weights."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.models.attention import zero_init

__all__ = ["TemporalAdapter"]


class TemporalAdapter(nn.Module):
    """Down, depthwise 3 x 3 x 3 convolution over time and space, up.

    ST-Adapter (Pan et al. 2022, ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning).
    """

    def __init__(self, width: int, inner: int, grid: int) -> None:
        super().__init__()
        self.inner, self.grid = inner, grid
        self.down = nn.Linear(width, inner)
        self.norm = nn.LayerNorm(inner)
        self.mix = nn.Conv3d(inner, inner, 3, padding=1, groups=inner)
        self.up = zero_init(nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return what is to be added to `(B, T, P, D)`, of the same shape."""
        b, t = x.shape[:2]
        h = self.norm(self.down(x))  # (B, T, P, inner)
        h = h.reshape(b, t, self.grid, self.grid, self.inner)  # (B, T, rows, columns, inner)
        h = self._convolve(h.permute(0, 4, 1, 2, 3))  # (B, inner, T, rows, columns)

        h = F.gelu(h).flatten(3).permute(0, 2, 3, 1)  # (B, T, P, inner)
        result: Tensor = self.up(h)
        return result

    def _convolve(self, h: Tensor) -> Tensor:
        """Convolve `(B, inner, T, rows, columns)`, in FP32 under autocast on a CPU.

        torch 2.14 leaves parts of this convolution's gradient unwritten in BF16 on processors that
        have it.
        """
        on_cpu = h.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            result: Tensor = self.mix(h.float() if on_cpu else h)
        return result
