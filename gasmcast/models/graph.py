"""Graph attention: edges between the patches of a frame, and between the segments of a window."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.models.attention import merge_heads, split_heads, zero_init

__all__ = ["MotionGraph", "SemanticGraph"]

SELF = 1e4  # added to a node's own score when edges are chosen, so that it is always among them
OFF = (
    -1e4
)  # added to the scores of edges that are not there: exp() of it is 0, also in half precision


class SemanticGraph(nn.Module):
    """Attention among the patches of a frame, along the edges of one sparse graph a frame.

    The graph is dense arithmetic with a mask, so nothing is gathered or scattered (the dynamic graphs of Vision GNN, Han
    et al. 2022, export badly). All heads share it: its edges are each node's top `k` by the heads' mean score plus a
    learned bias of the spatial offset. `knn` chooses the k nearest patches by feature instead (Vision GNN's rule).
    """

    offsets: Tensor

    def __init__(self, width: int, heads: int, grid: int, k: int | None, knn: bool = False) -> None:
        super().__init__()
        self.heads, self.knn = heads, knn
        nodes = grid * grid
        self.k = nodes if k is None else min(k, nodes)
        inner = _inner(width, heads)
        self.scale = (inner // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner)
        self.out = zero_init(nn.Linear(inner, width))
        self.bias = nn.Parameter(torch.zeros((2 * grid - 1) ** 2))
        y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        dy = y.flatten()[None, :] - y.flatten()[:, None] + grid - 1
        dx = x.flatten()[None, :] - x.flatten()[:, None] + grid - 1
        self.register_buffer("offsets", dy * (2 * grid - 1) + dx, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Messages along the edges.

        Args:
            x: `(N, P, D)`, one frame a row.

        Returns:
            `(N, P, D)` to be added to `x`, and the attention `(N, heads, P, P)`.
        """
        h = self.norm(x)
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(h).chunk(3, dim=-1))
        scores = (q * self.scale) @ k.transpose(-2, -1)  # (N, heads, P, P)
        bias = self.bias[self.offsets]
        if self.k < x.shape[1]:
            bias = self._edges(h, scores, bias)[:, None]
        weights = (scores + bias).softmax(-1, dtype=torch.float32).to(v.dtype)
        return self.out(merge_heads(weights @ v)), weights

    def _edges(self, h: Tensor, scores: Tensor, bias: Tensor) -> Tensor:
        """`(N, P, P)`: the bias on the edges there are, `OFF` elsewhere."""
        own = torch.eye(h.shape[1], dtype=scores.dtype, device=scores.device) * SELF
        with torch.no_grad():
            # For knn: what ranks as the negative squared distance does.
            near = (
                h @ h.transpose(-2, -1) + (own - 0.5 * (h * h).sum(-1)[:, None, :])
                if self.knn
                else scores.mean(1) + (bias + own)
            )
            keep = near >= near.topk(self.k, dim=-1).values[..., -1:]
        return torch.where(keep, bias, torch.full_like(bias, OFF))


class MotionGraph(nn.Module):
    """Attention among the segments of a window: one 8 x 8 graph a head from pooled segments, applied to every cell.

    A bias of the difference in time tells before from after. `gatv2` scores edges additively (Brody et al. 2022).
    """

    lags: Tensor

    def __init__(self, width: int, heads: int, segments: int, gatv2: bool = False) -> None:
        super().__init__()
        self.heads, self.gatv2 = heads, gatv2
        self.inner = _inner(width, heads)
        self.scale = (self.inner // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.query_key = nn.Linear(width, 2 * self.inner)
        self.value = nn.Linear(width, self.inner)
        self.out = zero_init(nn.Linear(self.inner, width))
        self.bias = nn.Parameter(torch.zeros(heads, 2 * segments - 1))
        if gatv2:
            self.additive = nn.Parameter(torch.randn(heads, self.inner // heads) * self.scale)
        t = torch.arange(segments)
        self.register_buffer("lags", t[None, :] - t[:, None] + segments - 1, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Messages between segments.

        Args:
            x: `(B, S, C, D)`.

        Returns:
            `(B, S, C, D)` to be added to `x`, and the attention `(B, heads, S, S)`.
        """
        b, s, c, _ = x.shape
        h, d = self.norm(x), self.inner
        q, k = (
            split_heads(part, self.heads) for part in self.query_key(h.mean(2)).chunk(2, dim=-1)
        )
        if self.gatv2:
            pairs = F.leaky_relu(q[:, :, :, None] + k[:, :, None], 0.2)  # (B, heads, S, S, d)
            scores = (pairs * self.additive[:, None, None]).sum(-1)
        else:
            scores = (q * self.scale) @ k.transpose(-2, -1)
        weights = (scores + self.bias[:, self.lags]).softmax(-1, dtype=torch.float32).to(x.dtype)
        v = (
            self.value(h)
            .reshape(b, s, c, self.heads, d // self.heads)
            .permute(0, 3, 1, 2, 4)
            .flatten(3)
        )  # (B, heads, S, C d)
        mixed = (
            (weights @ v)
            .reshape(b, self.heads, s, c, d // self.heads)
            .permute(0, 2, 3, 1, 4)
            .reshape(b, s, c, d)
        )
        return self.out(mixed), weights


def _inner(width: int, heads: int) -> int:
    """Half the width: the graphs choose and pass on, the feed-forward has the capacity."""
    return heads * max(1, width // (2 * heads))
