"""How the tokens of both streams are cut into attention windows: reshapes only, because their grids nest."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Cells", "Runs", "Window"]


@dataclass(frozen=True)
class Cells:
    """A window is one cell of the motion grid over all time; a stream has `side / cells` tokens a side in each."""

    side: int
    cells: int

    def cut(self, x: Tensor, heads: int) -> Tensor:
        """`(B, T, side^2, d)` -> `(B * cells^2, heads, T * tokens, d / heads)`."""
        b, t, _, d = x.shape
        c, u = self.cells, self.side // self.cells
        x = x.reshape(b, t, c, u, c, u, heads, d // heads).permute(0, 2, 4, 6, 1, 3, 5, 7)
        return x.reshape(b * c * c, heads, t * u * u, d // heads)

    def join(self, y: Tensor, time: int) -> Tensor:
        """The way back from `cut`, heads merged: `(B, time, side^2, d)`."""
        _, h, _, d = y.shape
        c, u = self.cells, self.side // self.cells
        y = y.reshape(-1, c, c, h, time, u, u, d).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return y.reshape(-1, time, self.side * self.side, h * d)


@dataclass(frozen=True)
class Runs:
    """A window is one of `count` equal runs of time with all its tokens: a segment, or with 1 the whole clip."""

    count: int

    def cut(self, x: Tensor, heads: int) -> Tensor:
        """`(B, T, P, d)` -> `(B * count, heads, T / count * P, d / heads)`."""
        b, t, p, d = x.shape
        return x.reshape(b * self.count, t // self.count * p, heads, d // heads).transpose(1, 2)

    def join(self, y: Tensor, time: int) -> Tensor:
        """The way back from `cut`, heads merged: `(B, time, P, d)`."""
        _, h, n, d = y.shape
        return y.transpose(1, 2).reshape(-1, time, n * self.count // time, h * d)


Window = Cells | Runs
