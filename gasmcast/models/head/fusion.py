"""The fusion head: progressive layers over the encoded segments of a window, then the read-out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gasmcast.config import ModelConfig
from gasmcast.models.head.contrast import TimeContrast
from gasmcast.models.head.fusion_layer import FusionLayer, FusionUpdate, LayerAttention
from gasmcast.models.head.readout import Readout
from gasmcast.models.shape import Features, HeadShape

__all__ = ["FusionHead"]

# Checkpoints store the two read-outs of the fused scores under these names.
FUSED_SEMANTIC, FUSED_MOTION = "fused_semantic", "fused_motion"


class HeadOutput(NamedTuple):
    """Scores of a window, and the attention maps behind them."""

    scores: dict[str, Tensor]
    """Logits `(B, classes)` by stream; a guarded model also has `fused`."""
    layers: list[LayerAttention]
    """Attention maps by layer."""
    readouts: dict[str, Tensor]
    """Pooling weights `(B, heads, tokens)` by read-out."""


class _Positions(nn.Module):
    """Learned positions over time plus space, as in TimeSformer (Bertasius et al. 2021)."""

    def __init__(self, time: int, tokens: int, width: int) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.randn(time, 1, width) * 0.02)
        self.space = nn.Parameter(torch.randn(tokens, width) * 0.02)

    def forward(self) -> Tensor:
        """Return `(time, tokens, D)`."""
        return self.time + self.space


class FusionHead(nn.Module):
    """Map the `Features` of a window to the scores of each stream's read-out.

    Progressive layers and cross-attention follow CAST (Lee et al. 2023). With `read_out: guarded`
    both streams run by themselves, each with its own read-out, and give what the same weights would
    give alone: of two networks trained as one, the one that learns faster takes the gradient from
    the other (Wang et al. 2020, What Makes Training Multi-Modal Classification Networks Hard?;
    Du et al. 2023, On Uni-Modal Feature Learning).

    The exchange then runs on detached features of the streams and has its own classifier, `fused`,
    which is trained from scratch: initializing it from the streams' mean was worse
    (docs/experiments/fusion.md). No weight of a stream gets a gradient from it. The streams still
    share the length of a training step: gradients are clipped by one norm over all of them
    (`train.clip_norm`).
    """

    def __init__(self, model: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        semantic, motion = model.streams != "motion", model.streams != "semantic"
        width = model.width
        self.shape = shape
        self.layers = nn.ModuleList(FusionLayer(model, shape) for _ in range(model.layers))

        self.positions_semantic: _Positions | None = None
        if semantic:
            self.positions_semantic = _Positions(shape.frames, shape.patches, width)
        self.positions_motion: _Positions | None = None
        if motion:
            self.positions_motion = _Positions(shape.segments, shape.motion_tokens, width)

        # Without contrast the module is absent, so that its gain is no dead weight.
        self.contrasts: nn.ModuleList | None = None
        if model.semantic_contrast and semantic:
            self.contrasts = nn.ModuleList(
                TimeContrast(width, model.semantic_contrast) for _ in range(model.layers)
            )

        # Late fusion exchanges nothing, so a guarded model of it has no fused read-out.
        self.guarded = model.read_out == "guarded" and model.streams == "both"
        names = ["semantic", "motion"] if model.streams == "both" else [model.streams]
        if self.guarded and model.fusion != "late":
            names += [FUSED_SEMANTIC, FUSED_MOTION]
        self.readouts = nn.ModuleDict(
            {name: Readout(width, model.heads, model.classes, model.dropout) for name in names}
        )

    @property
    def read_out_names(self) -> tuple[str, ...]:
        """Names of the scores that the head returns, in their order."""
        streams = tuple(n for n in self.readouts if n not in (FUSED_SEMANTIC, FUSED_MOTION))
        return (*streams, "fused") if FUSED_SEMANTIC in self.readouts else streams

    def forward(self, features: Features, depth: int | None = None) -> HeadOutput:
        """Score a window.

        Args:
            features: `semantic (B, S, L, f, P, D)`, `motion (B, S, L, C, D)`.
            depth: read out after this number of layers; None: after all of them. The read-outs are
                trained after the last layer only.

        Returns:
            Scores `(B, classes)` by stream (guarded: `fused` among them), attention maps by layer,
            and pooling weights by read-out.
        """
        s = self.positions_semantic() if self.positions_semantic is not None else None  # (T, P, D)
        m = self.positions_motion() if self.positions_motion is not None else None  # (S, C, D)
        zero = features.motion.new_zeros(())
        update = FusionUpdate(zero, zero)
        maps = []

        # Layer i adds tap i of both backbones to the running streams.
        for i, layer in enumerate(self.layers):
            if i == depth:
                break
            assert isinstance(layer, FusionLayer)
            if s is not None:
                s = s + self._semantic_tap(features, i)  # (B, T, P, D)
            if m is not None:
                m = m + features.motion[:, :, i]  # (B, S, C, D)

            if self.guarded and s is not None and m is not None:
                s, m, update, attention = layer.forward_guarded(s, m, update)
            else:
                s, m, attention = layer(s, m)
            maps.append(attention)

        return self._read_out(s, m, update, maps)

    def _semantic_tap(self, features: Features, i: int) -> Tensor:
        """Return the semantic tap of layer `i` as tokens of the window, `(B, T, P, D)`."""
        z = self.shape
        tap = features.semantic[:, :, i]  # (B, S, f, P, D)
        tap = tap.reshape(tap.shape[0], z.frames, z.patches, tap.shape[-1])  # (B, T, P, D)
        if self.contrasts is None:
            return tap
        contrasted: Tensor = self.contrasts[i](tap)
        return contrasted

    def _read_out(
        self, s: Tensor | None, m: Tensor | None, update: FusionUpdate, maps: list[LayerAttention]
    ) -> HeadOutput:
        """Pool and classify the tokens of every read-out."""
        tokens = {"semantic": s, "motion": m}

        # The fused read-outs see detached streams, so they train the exchanges and nothing else.
        fused = FUSED_SEMANTIC in self.readouts
        if fused:
            assert s is not None
            assert m is not None
            tokens[FUSED_SEMANTIC] = s.detach() + update.semantic
            tokens[FUSED_MOTION] = m.detach() + update.motion

        scores: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        for name, readout in self.readouts.items():
            scores[name], weights[name] = readout(tokens[name])

        # Both fused read-outs are one opinion to the outside.
        if fused:
            scores["fused"] = (scores.pop(FUSED_SEMANTIC) + scores.pop(FUSED_MOTION)) / 2

        return HeadOutput(scores, maps, weights)
