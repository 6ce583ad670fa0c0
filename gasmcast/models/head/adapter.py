"""The temporal adapter: what a frame-wise transformer lacks, at a few weights."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.models.attention import zero_init

__all__ = ["TemporalAdapter"]


class TemporalAdapter(nn.Module):
    """Down, depthwise 3 x 3 x 3 over time and space, up (ST-Adapter, Pan et al. 2022)."""

    def __init__(self, width: int, inner: int, grid: int) -> None:
        super().__init__()
        self.inner, self.grid = inner, grid
        self.down = nn.Linear(width, inner)
        self.norm = nn.LayerNorm(inner)
        self.mix = nn.Conv3d(inner, inner, 3, padding=1, groups=inner)
        self.up = zero_init(nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, P, D)` -> `(B, T, P, D)` to be added to it."""
        b, t = x.shape[:2]
        h = (
            self.norm(self.down(x))
            .reshape(b, t, self.grid, self.grid, self.inner)
            .permute(0, 4, 1, 2, 3)
        )
        h = F.gelu(self._mixed(h)).flatten(3).permute(0, 2, 3, 1)  # (B, T, P, inner)
        result: Tensor = self.up(h)
        return result

    def _mixed(self, h: Tensor) -> Tensor:
        """In FP32 under a CPU's autocast: torch 2.14 leaves parts of this gradient unwritten in BF16 where the processor has it."""
        on_cpu = h.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            result: Tensor = self.mix(h.float() if on_cpu else h)
        return result
