"""Exchanges that ablations compare B-CAST with.

Aligned tokens are concatenated, added or multiplied. Each kind has as many weights as B-CAST at the
same width (within a row of a matrix), so that a difference is not one of size.
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
    """Return the number of weights of a B-CAST of this model."""
    with torch.device("meta"):
        bcast = Exchange(model.model_copy(update={"fusion": "bcast"}), shape)
    return sum(p.numel() for p in bcast.parameters())


class _Mix(nn.Module):
    """One direction: combine `x` with the other stream's aligned tokens into a residual branch."""

    def __init__(self, kind: str, width: int, budget: int) -> None:
        super().__init__()
        self.kind = kind
        self.norm_x, self.norm_other = nn.LayerNorm(width), nn.LayerNorm(width)

        # Spend what the norms and the last bias leave of the budget on the inner width.
        budget -= 4 * width + width
        per_unit = 2 * width + 1 if kind == "add" else 3 * width + 2
        inner = max(1, budget // per_unit)
        self.from_other = nn.Linear(width, inner)
        self.from_x = nn.Linear(width, inner) if kind != "add" else None
        self.out = zero_init(nn.Linear(inner, width))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Combine tokens of one shape `(B, T, P, D)` to `(B, T, P, D)`, to be added to `x`."""
        h = self.from_other(self.norm_other(other))  # (B, T, P, inner)

        if self.kind == "add":
            # Adding before a common map: the sum is what gets transformed.
            h = h + F.linear(self.norm_x(x), self.from_other.weight)
        elif self.kind == "concat":
            # One matrix on the concatenation, written as its two halves.
            assert self.from_x is not None
            h = h + self.from_x(self.norm_x(x))
        else:
            assert self.from_x is not None
            h = h * self.from_x(self.norm_x(x))

        # A product is nonlinear already; the other kinds need an activation.
        result: Tensor = self.out(h if self.kind == "mul" else F.gelu(h))
        return result


class Blend(nn.Module):
    """Aligned exchange, the baseline of CAST's fusion ablation (Lee et al. 2023).

    Motion cells are repeated over their patches and frames; patches are averaged over their cell.
    """

    def __init__(self, model: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        # The weights of one B-CAST are shared out among the directions that are on.
        directions = 2 if model.direction == "both" else 1
        budget = exchange_weights(model, shape) // directions

        self.to_semantic: _Mix | None = None
        if model.direction != "to_motion":
            self.to_semantic = _Mix(model.fusion, model.width, budget)
        self.to_motion: _Mix | None = None
        if model.direction != "to_semantic":
            self.to_motion = _Mix(model.fusion, model.width, budget)

    def forward(self, s: Tensor, m: Tensor) -> Exchanged:
        """Exchange between `s (B, T, P, D)` and `m (B, S, C, D)`; there are no attention maps."""
        z = self.shape
        b, d = s.shape[0], s.shape[-1]
        f, u = z.frames // z.segments, z.grid // z.cells
        ds = dm = None

        # Every patch of a cell, in every frame of the segment, gets the cell's token.
        if self.to_semantic is not None:
            cells = m.reshape(b, z.segments, 1, z.cells, 1, z.cells, 1, d)
            patches = cells.expand(-1, -1, f, -1, u, -1, u, -1)  # (B, S, f, rows, u, cols, u, D)
            ds = self.to_semantic(s, patches.reshape(b, z.frames, z.patches, d))  # (B, T, P, D)

        # Every cell gets the mean of its patches over the frames of the segment.
        if self.to_motion is not None:
            patches = s.reshape(b, z.segments, f, z.cells, u, z.cells, u, d)
            cells = patches.mean((2, 4, 6))  # (B, S, rows, columns, D)
            dm = self.to_motion(m, cells.reshape(b, z.segments, z.motion_tokens, d))  # (B, S, C, D)

        return Exchanged(ds, dm)
