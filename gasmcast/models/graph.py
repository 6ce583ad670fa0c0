"""Graph attention between the patches of a frame and between the segments of a window."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.models.attention import merge_heads, split_heads, zero_init

__all__ = ["MotionGraph", "SemanticGraph"]

SELF_BONUS = 1e4
"""Added to a node's own score while edges are chosen, so that its self edge is always kept."""
NO_EDGE = -1e4
"""Added to the scores of absent edges: its exp() is 0, also in half precision."""


class SemanticGraph(nn.Module):
    """Attention among the patches of a frame, along the edges of one sparse graph per frame.

    The graph is dense arithmetic with a mask, so nothing is gathered or scattered: the dynamic
    graphs of Vision GNN (Han et al. 2022) export badly. All heads share the graph. Its edges are
    each node's top `k` by the mean score of the heads plus a learned bias of the spatial offset.
    `knn` instead chooses the `k` nearest patches by feature, which is Vision GNN's rule.
    """

    offsets: Tensor
    """`(P, P)` index into `bias` for each pair of patches."""

    def __init__(self, width: int, heads: int, grid: int, k: int | None, knn: bool = False) -> None:
        super().__init__()
        nodes = grid * grid
        inner = _inner_width(width, heads)
        self.heads, self.knn = heads, knn
        self.k = nodes if k is None else min(k, nodes)
        self.scale = (inner // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner)
        self.out = zero_init(nn.Linear(inner, width))

        # One bias per (dy, dx) between two patches, as Swin's relative positions (Liu et al. 2021).
        self.bias = nn.Parameter(torch.zeros((2 * grid - 1) ** 2))
        y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        dy = y.flatten()[None, :] - y.flatten()[:, None] + grid - 1  # (P, P)
        dx = x.flatten()[None, :] - x.flatten()[:, None] + grid - 1  # (P, P)
        self.register_buffer("offsets", dy * (2 * grid - 1) + dx, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pass messages along the edges.

        Args:
            x: `(N, P, D)`, one frame per row.

        Returns:
            `(N, P, D)` to be added to `x`, and the attention `(N, heads, P, P)`: axis 2 is the
            receiving patch, axis 3 the patch that it attends to.
        """
        h = self.norm(x)
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(h).chunk(3, dim=-1))
        scores = (q * self.scale) @ k.transpose(-2, -1)  # (N, heads, P, P)
        bias = self.bias[self.offsets]  # (P, P)

        # A graph with all edges is plain attention: no mask, and no top-k in the exported graph.
        if self.k < x.shape[1]:
            bias = self._masked_bias(h, scores, bias)[:, None]  # (N, 1, P, P)

        # Sums over hundreds of keys lose precision in half precision, so the softmax is FP32.
        weights = (scores + bias).softmax(-1, dtype=torch.float32).to(v.dtype)
        return self.out(merge_heads(weights @ v)), weights

    def _masked_bias(self, h: Tensor, scores: Tensor, bias: Tensor) -> Tensor:
        """Return `(N, P, P)`: the bias on the chosen edges, `NO_EDGE` elsewhere."""
        bonus = torch.eye(h.shape[1], dtype=scores.dtype, device=scores.device) * SELF_BONUS

        # The choice itself has no gradient; the bias learns through the edges that are chosen.
        with torch.no_grad():
            if self.knn:
                # h_i . h_j - |h_j|^2 / 2 ranks as the negative squared distance does.
                rank = h @ h.transpose(-2, -1) + (bonus - 0.5 * (h * h).sum(-1)[:, None, :])
            else:
                rank = scores.mean(1) + (bias + bonus)
            chosen = rank >= rank.topk(self.k, dim=-1).values[..., -1:]  # (N, P, P)

        return torch.where(chosen, bias, torch.full_like(bias, NO_EDGE))


class MotionGraph(nn.Module):
    """Attention among the segments of a window (graph attention, Velickovic et al. 2018).

    Each head has one `S x S` graph, computed from spatially pooled segments and applied to every
    cell. A bias of the time difference distinguishes earlier from later segments. `gatv2` scores
    edges additively (Brody et al. 2022, How Attentive are Graph Attention Networks?).
    """

    lags: Tensor
    """`(S, S)` index into `bias` for each pair of segments."""

    def __init__(self, width: int, heads: int, segments: int, gatv2: bool = False) -> None:
        super().__init__()
        self.heads, self.gatv2 = heads, gatv2
        self.inner = _inner_width(width, heads)
        self.scale = (self.inner // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.query_key = nn.Linear(width, 2 * self.inner)
        self.value = nn.Linear(width, self.inner)
        self.out = zero_init(nn.Linear(self.inner, width))
        self.bias = nn.Parameter(torch.zeros(heads, 2 * segments - 1))
        if gatv2:
            self.additive = nn.Parameter(torch.randn(heads, self.inner // heads) * self.scale)

        # One bias per head and time difference, from -(S - 1) to S - 1.
        t = torch.arange(segments)
        self.register_buffer("lags", t[None, :] - t[:, None] + segments - 1, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pass messages between segments.

        Args:
            x: `(B, S, C, D)`.

        Returns:
            `(B, S, C, D)` to be added to `x`, and the attention `(B, heads, S, S)`: axis 2 is the
            receiving segment, axis 3 the segment that it attends to.
        """
        b, s, c, _ = x.shape
        h, inner, heads = self.norm(x), self.inner, self.heads

        # Edges come from the mean of a segment's cells: what moved, not where it moved.
        pooled = self.query_key(h.mean(2))  # (B, S, 2 inner)
        q, k = (split_heads(part, heads) for part in pooled.chunk(2, dim=-1))  # (B, heads, S, d)
        if self.gatv2:
            pairs = F.leaky_relu(q[:, :, :, None] + k[:, :, None], 0.2)  # (B, heads, S, S, d)
            scores = (pairs * self.additive[:, None, None]).sum(-1)  # (B, heads, S, S)
        else:
            scores = (q * self.scale) @ k.transpose(-2, -1)  # (B, heads, S, S)
        weights = (scores + self.bias[:, self.lags]).softmax(-1, dtype=torch.float32).to(x.dtype)

        # The cells of a segment are mixed as one long vector, so each keeps its place.
        v = self.value(h).reshape(b, s, c, heads, inner // heads)  # (B, S, C, heads, d)
        v = v.permute(0, 3, 1, 2, 4).flatten(3)  # (B, heads, S, C d)
        mixed = (weights @ v).reshape(b, heads, s, c, inner // heads)  # (B, heads, S, C, d)
        mixed = mixed.permute(0, 2, 3, 1, 4).reshape(b, s, c, inner)  # (B, S, C, inner)
        return self.out(mixed), weights


def _inner_width(width: int, heads: int) -> int:
    """Return half the width, rounded to the heads: capacity belongs in the feed-forward layers."""
    return heads * max(1, width // (2 * heads))
