"""Exchange information between the streams by cross-attention in both directions.

`bcast` is the bottleneck cross-attention B-CAST (Lee et al. 2023, CAST: Cross-Attention in Space
and Time), rewritten for two streams on different grids: a motion cell owns 2 x 2 patches of each of
its segment's semantic frames. `full` is the full-width attention that it is compared with.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gasmcast.config import ModelConfig
from gasmcast.models.attention import zero_init
from gasmcast.models.head.windows import Cells, Runs, Window, WindowPair
from gasmcast.models.shape import HeadShape

__all__ = ["Exchange", "Exchanged"]


class Exchanged(NamedTuple):
    """Result of one exchange; None for a direction that is off."""

    semantic: Tensor | None
    """`(B, T, P, D)` to be added to the semantic tokens."""
    motion: Tensor | None
    """`(B, S, C, D)` to be added to the motion tokens."""
    to_semantic: Tensor | None = None
    """Attention `(B * windows, heads, queries, keys)` from semantic queries to motion keys."""
    to_motion: Tensor | None = None
    """Attention `(B * windows, heads, queries, keys)` from motion queries to semantic keys."""


class CrossAttention(nn.Module):
    """Multi-head attention of one stream's tokens over the other's, within windows.

    Scaled dot-product attention (Vaswani et al. 2017); the windows are CAST's (Lee et al. 2023).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, context: Tensor, *, x_window: Window, context_window: Window
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` to `context`.

        Args:
            x: `(B, Tx, Px, d)` queries.
            context: `(B, Tc, Pc, d)` keys and values.
            x_window: cuts `x` into windows.
            context_window: cuts `context` into the same number of windows.

        Returns:
            `(B, Tx, Px, d)`, and the attention `(B * windows, heads, queries, keys)`. Windows are
            the inner index of axis 0: cells row by row, or segments in order.
        """
        q = x_window.cut(self.query(x) * self.scale, self.heads)  # (B windows, heads, queries, d)
        k, v = (
            context_window.cut(part, self.heads)  # (B windows, heads, keys, d)
            for part in self.key_value(context).chunk(2, dim=-1)
        )

        weights = (q @ k.transpose(-2, -1)).softmax(-1, dtype=torch.float32).to(v.dtype)
        return self.out(x_window.join(weights @ v, x.shape[1])), weights


class _Side(nn.Module):
    """Input of one stream to the exchange: down, LayerNorm, positions of this exchange alone."""

    def __init__(self, width: int, inner: int, time: int, tokens: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner) if inner < width else nn.Identity()
        self.norm = nn.LayerNorm(inner)
        self.time = nn.Parameter(torch.randn(time, 1, inner) * 0.02)
        self.space = nn.Parameter(torch.randn(tokens, inner) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, T, P, D)` to `(B, T, P, inner)`."""
        result: Tensor = self.norm(self.down(x)) + (self.time + self.space)
        return result


class Exchange(nn.Module):
    """Cross-attention in both directions from the same inputs (B-CAST, Lee et al. 2023).

    `bcast` works at the bottleneck width, `full` at the full one. `full` would have almost twice
    the weights, so there both directions share one attention: the comparison is of the operation,
    not of its size.
    """

    def __init__(self, model: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        full = model.fusion == "full"
        width = model.width
        inner = width if full else round(width * model.bottleneck)
        self.semantic = _Side(width, inner, shape.frames, shape.patches)
        self.motion = _Side(width, inner, shape.segments, shape.motion_tokens)
        self._cut_windows(shape, local=model.attention_window == "local")

        self.to_semantic: CrossAttention | None = None
        if model.direction != "to_motion":
            self.to_semantic = CrossAttention(inner, model.heads)
        self.to_motion: CrossAttention | None = None
        if model.direction != "to_semantic":
            shared = self.to_semantic if full else None
            self.to_motion = shared or CrossAttention(inner, model.heads)

        # The branch starts at zero: at full width by `out`, at the bottleneck by the way up.
        if full:
            for attention in (self.to_semantic, self.to_motion):
                if attention is not None:
                    zero_init(attention.out)
        self.up_semantic = nn.Identity() if full or self.to_semantic is None else _up(inner, width)
        self.up_motion = nn.Identity() if full or self.to_motion is None else _up(inner, width)

    def _cut_windows(self, shape: HeadShape, *, local: bool) -> None:
        """Choose the windows of both directions; without `local` each is the whole clip."""
        whole = WindowPair(Runs(1), Runs(1))
        cells = WindowPair(Cells(shape.grid, shape.cells), Cells(shape.cells, shape.cells))
        segments = WindowPair(Runs(shape.segments), Runs(shape.segments))
        self.cell_windows = cells if local else whole
        self.segment_windows = segments if local else whole

    def forward(self, s: Tensor, m: Tensor) -> Exchanged:
        """Exchange between `s (B, T, P, D)` and `m (B, S, C, D)`."""
        semantic, motion = self.semantic(s), self.motion(m)  # (B, T, P, inner), (B, S, C, inner)
        ds = dm = to_semantic = to_motion = None

        # A patch attends to the motion of its own cell at every time: 8 keys.
        if self.to_semantic is not None:
            cut = self.cell_windows
            ds, to_semantic = self.to_semantic(
                semantic, motion, x_window=cut.semantic, context_window=cut.motion
            )
            ds = self.up_semantic(ds)  # (B, T, P, D)

        # A cell attends to all patches of its segment: 392 keys.
        if self.to_motion is not None:
            cut = self.segment_windows
            dm, to_motion = self.to_motion(
                motion, semantic, x_window=cut.motion, context_window=cut.semantic
            )
            dm = self.up_motion(dm)  # (B, S, C, D)

        return Exchanged(ds, dm, to_semantic, to_motion)


def _up(inner: int, width: int) -> nn.Sequential:
    """Return the way from the bottleneck back to full width, zero at initialization."""
    return nn.Sequential(nn.GELU(), zero_init(nn.Linear(inner, width)))
