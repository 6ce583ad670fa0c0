"""The fusion head: progressive layers over the encoded segments of a window, then the read-out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gasmcast.config import ModelConfig
from gasmcast.models.attention import DropPath, zero_init
from gasmcast.models.encoder import Features
from gasmcast.models.graph import MotionGraph
from gasmcast.models.head.adapter import TemporalAdapter
from gasmcast.models.head.baselines import Blend, exchange_weights
from gasmcast.models.head.contrast import TimeContrast
from gasmcast.models.head.cross_attention import Exchange
from gasmcast.models.head.readout import Readout
from gasmcast.models.shape import HeadShape

__all__ = ["FeedForward", "FusionHead", "FusionLayer", "LayerAttention"]


class LayerAttention(NamedTuple):
    """Where one layer looked; None where it has no such part."""

    motion_graph: Tensor | None
    """`(B, heads, S, S)`."""
    to_semantic: Tensor | None
    """`(B * windows, heads, queries, keys)`, as the window cuts."""
    to_motion: Tensor | None


class FeedForward(nn.Module):
    """LayerNorm, up, GELU, down."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, inner)
        self.down = zero_init(nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., D)` -> `(..., D)` to be added to it."""
        result: Tensor = self.down(F.gelu(self.up(self.norm(x))))
        return result


class FusionLayer(nn.Module):
    """Temporal adapter, motion graph, exchange, feed-forward; every branch residual and zero at first.

    The semantic graph is not here: a frame's patches attend within the frame, so the segment encoder does it, once a segment.
    """

    def __init__(self, model: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        width, heads = model.width, model.heads
        semantic, motion = model.streams != "motion", model.streams != "semantic"
        self.drop = DropPath(model.drop_path)
        self.adapter = (
            TemporalAdapter(width, model.temporal_adapter, shape.grid)
            if semantic and model.temporal_adapter
            else None
        )
        self.graph_motion: MotionGraph | None = None
        if motion and model.graph_motion != "none":
            self.graph_motion = MotionGraph(
                width, heads, shape.segments, gatv2=model.graph_motion == "gatv2"
            )
        inner = round(width * model.ffn_ratio)
        self.exchange: Exchange | Blend | None = None
        if semantic and motion:
            if model.fusion in ("bcast", "full"):
                self.exchange = Exchange(model, shape)
            elif model.fusion == "late":
                inner += exchange_weights(model, shape) // (
                    2 * (2 * width + 1)
                )  # the same size, spent within the streams
            else:
                self.exchange = Blend(model, shape)
        self.ffn_semantic = FeedForward(width, inner) if semantic and inner else None
        self.ffn_motion = FeedForward(width, inner) if motion and inner else None

    def forward(
        self, s: Tensor | None, m: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, LayerAttention]:
        """`s (B, T, P, D)` and `m (B, S, C, D)` -> the same, and where it looked."""
        s, m, graph = self._within(s, m)
        to_s = to_m = None
        if s is not None and m is not None and self.exchange is not None:
            ds, dm, to_s, to_m = self.exchange(s, m)
            s = s if ds is None else s + self.drop(ds)
            m = m if dm is None else m + self.drop(dm)
        s, m = self._feed(s, m)
        return s, m, LayerAttention(graph, to_s, to_m)

    def beside(
        self, s: Tensor, m: Tensor, told: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], LayerAttention]:
        """The guarded order: each stream by itself, and the exchange beside them, which reads them and teaches them nothing.

        Args:
            s: `(B, T, P, D)`.
            m: `(B, S, C, D)`.
            told: what earlier exchanges added, of the same shapes.

        Returns:
            the streams, as they would be alone; what they have been told by now; where the layer looked.
        """
        own_s, own_m, graph = self._within(s, m)
        own_s, own_m = self._feed(own_s, own_m)
        assert own_s is not None
        assert own_m is not None
        to_s = to_m = None
        if self.exchange is not None:
            ds, dm, to_s, to_m = self.exchange(own_s.detach() + told[0], own_m.detach() + told[1])
            told = (
                told[0] if ds is None else told[0] + self.drop(ds),
                told[1] if dm is None else told[1] + self.drop(dm),
            )
        return own_s, own_m, told, LayerAttention(graph, to_s, to_m)

    def _within(
        self, s: Tensor | None, m: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """What each stream does by itself before it listens: adapter and motion graph, whose attention comes last."""
        graph = None
        if s is not None and self.adapter is not None:
            s = s + self.drop(self.adapter(s))
        if m is not None and self.graph_motion is not None:
            out, graph = self.graph_motion(m)
            m = m + self.drop(out)
        return s, m, graph

    def _feed(self, s: Tensor | None, m: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if s is not None and self.ffn_semantic is not None:
            s = s + self.drop(self.ffn_semantic(s))
        if m is not None and self.ffn_motion is not None:
            m = m + self.drop(self.ffn_motion(m))
        return s, m


class _Positions(nn.Module):
    """Learned positions over time and space."""

    def __init__(self, time: int, tokens: int, width: int) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.randn(time, 1, width) * 0.02)
        self.space = nn.Parameter(torch.randn(tokens, width) * 0.02)

    def forward(self) -> Tensor:
        """`(time, tokens, D)`."""
        return self.time + self.space


class FusionHead(nn.Module):
    """`Features` of a window -> scores of each stream's read-out, and where every layer looked.

    With `read_out: guarded` both streams run by themselves, each with its own read-out, and give what the same weights would give
    alone: of two networks trained as one, the one that learns faster takes the gradient from the other (Wang et al. 2020, What Makes
    Training Multi-Modal Classification Networks Hard?; Du et al. 2023, On Uni-Modal Feature Learning). The exchange works beside them
    on what they know, and has a read-out of its own, `fused`, which learns from nothing: begun as the mean of what they say, it learned
    less (docs/experiments/fusion.md). No weight of a stream takes a gradient from it. What they still share in training is the
    step's length: gradients are clipped by one norm over all of them (`train.clip_norm`).
    """

    def __init__(self, model: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(FusionLayer(model, shape) for _ in range(model.layers))
        self.positions_semantic = (
            _Positions(shape.frames, shape.patches, model.width)
            if model.streams != "motion"
            else None
        )
        self.positions_motion = (
            _Positions(shape.segments, shape.motion_tokens, model.width)
            if model.streams != "semantic"
            else None
        )
        self.contrasts: nn.ModuleList | None = None
        if model.semantic_contrast and model.streams != "motion":
            self.contrasts = nn.ModuleList(
                TimeContrast(model.width, model.semantic_contrast) for _ in range(model.layers)
            )
        self.guarded = model.read_out == "guarded" and model.streams == "both"
        names = ["semantic", "motion"] if model.streams == "both" else [model.streams]
        if self.guarded and model.fusion != "late":
            names += ["told_semantic", "told_motion"]
        self.readouts = nn.ModuleDict(
            {
                name: Readout(model.width, model.heads, model.classes, model.dropout)
                for name in names
            }
        )

    def forward(
        self, features: Features
    ) -> tuple[dict[str, Tensor], list[LayerAttention], dict[str, Tensor]]:
        """Scores.

        Args:
            features: `semantic (B, S, L, f, P, D)`, `motion (B, S, L, C, D)`.

        Returns:
            scores `(B, classes)` by stream (guarded: `fused` among them); attention by layer; where each read-out looked, by stream.
        """
        b, z = features.motion.shape[0], self.shape
        width = features.motion.shape[-1]
        s = self.positions_semantic() if self.positions_semantic is not None else None
        m = self.positions_motion() if self.positions_motion is not None else None
        looked = []
        told = (features.motion.new_zeros(()), features.motion.new_zeros(()))
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, FusionLayer)
            if s is not None:
                new = features.semantic[:, :, i].reshape(b, z.frames, z.patches, width)
                s = s + (new if self.contrasts is None else self.contrasts[i](new))
            if m is not None:
                m = m + features.motion[:, :, i]
            if self.guarded and s is not None and m is not None:
                s, m, told, attention = layer.beside(s, m, told)
            else:
                s, m, attention = layer(s, m)
            looked.append(attention)
        tokens = {"semantic": s, "motion": m}
        if "told_semantic" in self.readouts:
            assert s is not None
            assert m is not None
            tokens |= {"told_semantic": s.detach() + told[0], "told_motion": m.detach() + told[1]}
        read = {name: readout(tokens[name]) for name, readout in self.readouts.items()}
        scores = {name: value for name, (value, _) in read.items()}
        if "told_semantic" in scores:
            scores["fused"] = (scores.pop("told_semantic") + scores.pop("told_motion")) / 2
        return scores, looked, {name: weights for name, (_, weights) in read.items()}
