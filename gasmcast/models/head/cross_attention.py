"""What one stream tells the other: bottleneck cross-attention both ways, and the full-width kind it is measured against.

B-CAST (Lee et al. 2023, CAST: Cross-Attention in Space and Time), written anew for two streams on different grids:
a cell of motion owns 2 x 2 patches of each of its segment's semantic frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gasmcast.config import ModelConfig
from gasmcast.models.attention import zero_init
from gasmcast.models.head.windows import Cells, Runs, Window
from gasmcast.models.shape import HeadShape

__all__ = ["CrossAttention", "Exchange", "Exchanged"]

Exchanged = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""What is to be added to S and to M, and the attention of both directions; None for a direction that is off."""


class CrossAttention(nn.Module):
    """Multi-head attention of one stream's tokens over the other's, within windows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, context: Tensor, of_x: Window, of_context: Window
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: `(B, Tx, Px, d)` queries.
            context: `(B, Tc, Pc, d)` keys and values.
            of_x: how `x` is cut into windows.
            of_context: how `context` is cut into as many.

        Returns:
            `(B, Tx, Px, d)`, and the attention `(B * windows, heads, queries, keys)`.
        """
        q = of_x.cut(self.query(x) * self.scale, self.heads)
        k, v = (
            of_context.cut(part, self.heads) for part in self.key_value(context).chunk(2, dim=-1)
        )
        weights = (q @ k.transpose(-2, -1)).softmax(-1, dtype=torch.float32).to(v.dtype)
        return self.out(of_x.join(weights @ v, x.shape[1])), weights


class _Side(nn.Module):
    """One stream's way into the exchange: down, LayerNorm, positions that belong to this exchange alone."""

    def __init__(self, width: int, inner: int, time: int, tokens: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner) if inner < width else nn.Identity()
        self.norm = nn.LayerNorm(inner)
        self.time = nn.Parameter(torch.randn(time, 1, inner) * 0.02)
        self.space = nn.Parameter(torch.randn(tokens, inner) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.down(x)) + (self.time + self.space)
        return result


class Exchange(nn.Module):
    """Cross-attention in both directions from the same inputs.

    `bcast` works at the bottleneck width, `full` at the full one. `full` would have almost twice the weights, so there
    both directions share one attention: the comparison is of the operation, not of its size.
    """

    def __init__(self, model: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        full = model.fusion == "full"
        width, inner = model.width, model.width if full else round(model.width * model.bottleneck)
        self.semantic = _Side(width, inner, shape.frames, shape.patches)
        self.motion = _Side(width, inner, shape.segments, shape.motion_tokens)
        local = model.attention_window == "local"
        grid, cells = shape.grid, shape.cells
        self.cell_windows: tuple[Window, Window] = (
            (Cells(grid, cells), Cells(cells, cells)) if local else (Runs(1), Runs(1))
        )
        self.segment_windows: tuple[Window, Window] = (
            (Runs(shape.segments), Runs(shape.segments)) if local else (Runs(1), Runs(1))
        )
        self.to_semantic = (
            CrossAttention(inner, model.heads) if model.direction != "to_motion" else None
        )
        self.to_motion: CrossAttention | None = None
        if model.direction != "to_semantic":
            self.to_motion = (
                self.to_semantic
                if full and self.to_semantic is not None
                else CrossAttention(inner, model.heads)
            )
        if full:
            for attention in (self.to_semantic, self.to_motion):
                if attention is not None:
                    zero_init(attention.out)
        self.up_semantic = nn.Identity() if full or self.to_semantic is None else _up(inner, width)
        self.up_motion = nn.Identity() if full or self.to_motion is None else _up(inner, width)

    def forward(self, s: Tensor, m: Tensor) -> Exchanged:
        """`s (B, T, P, D)` and `m (B, S, C, D)`: see `Exchanged`."""
        a, b = self.semantic(s), self.motion(m)
        ds = dm = to_s = to_m = None
        if self.to_semantic is not None:  # a patch listens to its cell's motion at every time
            ds, to_s = self.to_semantic(a, b, *self.cell_windows)
            ds = self.up_semantic(ds)
        if self.to_motion is not None:  # a cell listens to all patches of its segment
            dm, to_m = self.to_motion(b, a, *reversed(self.segment_windows))
            dm = self.up_motion(dm)
        return ds, dm, to_s, to_m


def _up(inner: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.GELU(), zero_init(nn.Linear(inner, width)))
