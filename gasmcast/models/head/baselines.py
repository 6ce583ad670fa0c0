"""The exchanges that ablations compare B-CAST with: concatenation, addition and product of aligned tokens.

Each has as many weights as B-CAST at the same width (within a row of a matrix), so that a difference is not one of size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.config import ModelConfig
from gasmcast.models.attention import zero_init
from gasmcast.models.head.cross_attention import Exchange, Exchanged
from gasmcast.models.shape import HeadShape

__all__ = ["Blend", "exchange_weights"]


def exchange_weights(model: ModelConfig, shape: HeadShape) -> int:
    """How many weights a B-CAST of this model has."""
    with torch.device("meta"):
        bcast = Exchange(model.model_copy(update={"fusion": "bcast"}), shape)
    return sum(p.numel() for p in bcast.parameters())


class _Mix(nn.Module):
    """One direction: `x` and the other stream's aligned tokens -> what is added to `x`."""

    def __init__(self, kind: str, width: int, budget: int) -> None:
        super().__init__()
        self.kind = kind
        self.norm_x, self.norm_other = nn.LayerNorm(width), nn.LayerNorm(width)
        budget -= 4 * width + width
        inner = max(1, budget // (2 * width + 1) if kind == "add" else budget // (3 * width + 2))
        self.from_other = nn.Linear(width, inner)
        self.from_x = nn.Linear(width, inner) if kind != "add" else None
        self.out = zero_init(nn.Linear(inner, width))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        h = self.from_other(self.norm_other(other))
        if self.kind == "add":
            # Addition before a common map: the sum is what is transformed.
            h = h + F.linear(self.norm_x(x), self.from_other.weight)
        elif self.kind == "concat":
            assert self.from_x is not None
            h = h + self.from_x(
                self.norm_x(x)
            )  # one matrix on the concatenation, written as its two halves
        else:
            assert self.from_x is not None
            h = h * self.from_x(self.norm_x(x))
        result: Tensor = self.out(h if self.kind == "mul" else F.gelu(h))
        return result


class Blend(nn.Module):
    """Aligned exchange: motion cells are repeated over their patches and frames, patches averaged over their cell."""

    def __init__(self, model: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        ways = 2 if model.direction == "both" else 1
        budget = exchange_weights(model, shape) // ways
        self.to_semantic = (
            _Mix(model.fusion, model.width, budget) if model.direction != "to_motion" else None
        )
        self.to_motion = (
            _Mix(model.fusion, model.width, budget) if model.direction != "to_semantic" else None
        )

    def forward(self, s: Tensor, m: Tensor) -> Exchanged:
        """`s (B, T, P, D)` and `m (B, S, C, D)`: what is to be added to each."""
        z = self.shape
        b, d = s.shape[0], s.shape[-1]
        f, u = z.frames // z.segments, z.grid // z.cells
        ds = dm = None
        if self.to_semantic is not None:
            spread = m.reshape(b, z.segments, 1, z.cells, 1, z.cells, 1, d).expand(
                -1, -1, f, -1, u, -1, u, -1
            )
            ds = self.to_semantic(s, spread.reshape(b, z.frames, z.patches, d))
        if self.to_motion is not None:
            pooled = (
                s.reshape(b, z.segments, f, z.cells, u, z.cells, u, d)
                .mean((2, 4, 6))
                .reshape(b, z.segments, z.motion_tokens, d)
            )
            dm = self.to_motion(m, pooled)
        return ds, dm, None, None
