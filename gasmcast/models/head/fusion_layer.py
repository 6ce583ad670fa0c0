"""One progressive layer of the fusion head."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.config import ModelConfig
from gasmcast.models.attention import DropPath, zero_init
from gasmcast.models.graph import MotionGraph
from gasmcast.models.head.adapter import TemporalAdapter
from gasmcast.models.head.baselines import Blend, exchange_weights
from gasmcast.models.head.cross_attention import Exchange
from gasmcast.models.shape import HeadShape

__all__ = ["FusionLayer", "FusionUpdate", "LayerAttention"]


class LayerAttention(NamedTuple):
    """Attention maps of one fusion layer; None for a part that the layer lacks."""

    motion_graph: Tensor | None
    """`(B, heads, S, S)`: receiving segment, attended segment."""
    to_semantic: Tensor | None
    """`(B * windows, heads, queries, keys)`: semantic queries, motion keys. With local windows a
    window is a motion cell over all time: `(B * C, heads, T * patches per cell, S)`.
    """
    to_motion: Tensor | None
    """`(B * windows, heads, queries, keys)`: motion queries, semantic keys. With local windows a
    window is a segment: `(B * S, heads, C, f * P)`.
    """


class LayerOutput(NamedTuple):
    """Both streams after a layer; None for a stream that the model lacks."""

    semantic: Tensor | None
    """`(B, T, P, D)`."""
    motion: Tensor | None
    """`(B, S, C, D)`."""
    attention: LayerAttention


class FusionUpdate(NamedTuple):
    """Sum of what the exchanges of a guarded model add to each stream for its fused read-out."""

    semantic: Tensor
    """`(B, T, P, D)`, or a scalar 0 before the first exchange."""
    motion: Tensor
    """`(B, S, C, D)`, or a scalar 0 before the first exchange."""


class GuardedOutput(NamedTuple):
    """Both streams after a layer of a guarded model, and the exchange beside them."""

    semantic: Tensor
    """`(B, T, P, D)`, as it would be without a motion stream."""
    motion: Tensor
    """`(B, S, C, D)`, as it would be without a semantic stream."""
    update: FusionUpdate
    attention: LayerAttention


class FeedForward(nn.Module):
    """LayerNorm, up, GELU, down: the feed-forward block of ViT (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, inner)
        self.down = zero_init(nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return what is to be added to `(..., D)`, of the same shape."""
        result: Tensor = self.down(F.gelu(self.up(self.norm(x))))
        return result


class FusionLayer(nn.Module):
    """Temporal adapter, motion graph, exchange, feed-forward; every branch is zero at first.

    The order of adapter, cross-attention and feed-forward is that of CAST (Lee et al. 2023). The
    semantic graph is not here: the patches of a frame attend within the frame, so the segment
    encoder computes it once per segment.
    """

    def __init__(self, model: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        width, heads = model.width, model.heads
        semantic, motion = model.streams != "motion", model.streams != "semantic"
        self.drop = DropPath(model.drop_path)

        self.adapter: TemporalAdapter | None = None
        if semantic and model.temporal_adapter:
            self.adapter = TemporalAdapter(width, model.temporal_adapter, shape.grid)
        self.graph_motion: MotionGraph | None = None
        if motion and model.graph_motion != "none":
            gatv2 = model.graph_motion == "gatv2"
            self.graph_motion = MotionGraph(width, heads, shape.segments, gatv2=gatv2)

        inner = round(width * model.ffn_ratio)
        self.exchange: Exchange | Blend | None = None
        if semantic and motion:
            if model.fusion in ("bcast", "full"):
                self.exchange = Exchange(model, shape)
            elif model.fusion == "late":
                # Late fusion spends the weights of an exchange within the streams.
                inner += exchange_weights(model, shape) // (2 * (2 * width + 1))
            else:
                self.exchange = Blend(model, shape)

        self.ffn_semantic = FeedForward(width, inner) if semantic and inner else None
        self.ffn_motion = FeedForward(width, inner) if motion and inner else None

    def forward(self, s: Tensor | None, m: Tensor | None) -> LayerOutput:
        """Run the layer on `s (B, T, P, D)` and `m (B, S, C, D)`; None for an absent stream."""
        s, m, graph = self._before_exchange(s, m)

        # Both directions read the same inputs, so neither comes first.
        to_semantic = to_motion = None
        if s is not None and m is not None and self.exchange is not None:
            ds, dm, to_semantic, to_motion = self.exchange(s, m)
            s = s if ds is None else s + self.drop(ds)
            m = m if dm is None else m + self.drop(dm)

        s, m = self._feed_forward(s, m)
        return LayerOutput(s, m, LayerAttention(graph, to_semantic, to_motion))

    def forward_guarded(self, s: Tensor, m: Tensor, update: FusionUpdate) -> GuardedOutput:
        """Run each stream by itself, and the exchange beside them on detached features.

        The exchange reads the streams, but no gradient of it reaches them.

        Args:
            s: `(B, T, P, D)`.
            m: `(B, S, C, D)`.
            update: sum of what the exchanges of earlier layers added.

        Returns:
            The streams as they would be alone, and the update with this exchange included.
        """
        alone_s, alone_m, graph = self._before_exchange(s, m)
        alone_s, alone_m = self._feed_forward(alone_s, alone_m)
        assert alone_s is not None
        assert alone_m is not None

        # The exchange sees what the fused streams would be by now: alone, plus all updates.
        to_semantic = to_motion = None
        if self.exchange is not None:
            ds, dm, to_semantic, to_motion = self.exchange(
                alone_s.detach() + update.semantic, alone_m.detach() + update.motion
            )
            update = FusionUpdate(
                update.semantic if ds is None else update.semantic + self.drop(ds),
                update.motion if dm is None else update.motion + self.drop(dm),
            )

        attention = LayerAttention(graph, to_semantic, to_motion)
        return GuardedOutput(alone_s, alone_m, update, attention)

    def _before_exchange(
        self, s: Tensor | None, m: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Apply adapter and motion graph; return both streams and the graph's attention."""
        graph = None
        if s is not None and self.adapter is not None:
            s = s + self.drop(self.adapter(s))
        if m is not None and self.graph_motion is not None:
            messages, graph = self.graph_motion(m)
            m = m + self.drop(messages)
        return s, m, graph

    def _feed_forward(
        self, s: Tensor | None, m: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Apply the feed-forward block of each stream."""
        if s is not None and self.ffn_semantic is not None:
            s = s + self.drop(self.ffn_semantic(s))
        if m is not None and self.ffn_motion is not None:
            m = m + self.drop(self.ffn_motion(m))
        return s, m
