"""Cut the tokens of both streams into attention windows.

Reshapes are enough, because the two grids nest: a motion cell is 2 x 2 patches. Windowed attention
follows CAST (Lee et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

__all__ = ["Cells", "Runs", "Window", "WindowPair"]


@dataclass(frozen=True)
class Cells:
    """Windows of one motion cell over all time: `(side / cells)^2` tokens per time step."""

    side: int
    """Tokens per side of the stream's grid."""
    cells: int
    """Motion cells per side."""

    def cut(self, x: Tensor, heads: int) -> Tensor:
        """Cut `(B, T, side^2, d)` to `(B * cells^2, heads, T * tokens, d / heads)`."""
        b, t, _, d = x.shape
        c, u = self.cells, self.side // self.cells
        x = x.reshape(b, t, c, u, c, u, heads, d // heads)  # rows (c, u), then columns (c, u)
        x = x.permute(0, 2, 4, 6, 1, 3, 5, 7)  # (B, c, c, heads, T, u, u, d / heads)
        return x.reshape(b * c * c, heads, t * u * u, d // heads)

    def join(self, y: Tensor, time: int) -> Tensor:
        """Undo `cut` and merge the heads: `(B, time, side^2, d)`."""
        _, h, _, d_head = y.shape
        c, u = self.cells, self.side // self.cells
        y = y.reshape(-1, c, c, h, time, u, u, d_head)
        y = y.permute(0, 4, 1, 5, 2, 6, 3, 7)  # (B, T, c, u, c, u, heads, d / heads)
        return y.reshape(-1, time, self.side * self.side, h * d_head)


@dataclass(frozen=True)
class Runs:
    """Windows of `T / count` consecutive time steps with all their tokens.

    A window covers one segment, or with a count of 1 the whole clip.
    """

    count: int
    """Windows per clip."""

    def cut(self, x: Tensor, heads: int) -> Tensor:
        """Cut `(B, T, P, d)` to `(B * count, heads, T / count * P, d / heads)`."""
        b, t, p, d = x.shape
        x = x.reshape(b * self.count, t // self.count * p, heads, d // heads)
        return x.transpose(1, 2)  # (B count, heads, tokens, d / heads)

    def join(self, y: Tensor, time: int) -> Tensor:
        """Undo `cut` and merge the heads: `(B, time, P, d)`."""
        _, h, n, d_head = y.shape
        return y.transpose(1, 2).reshape(-1, time, n * self.count // time, h * d_head)


Window = Cells | Runs


class WindowPair(NamedTuple):
    """Matching windows of both streams: window `i` of one attends to window `i` of the other."""

    semantic: Window
    motion: Window
