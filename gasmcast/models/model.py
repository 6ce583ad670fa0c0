"""GASM-CAST: two frozen streams, read progressively, joined by graph attention and bottleneck cross-attention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from gasmcast.config import Config, ModelConfig
from gasmcast.models.encoder import Features, SegmentEncoder
from gasmcast.models.head.fusion import FusionHead, LayerAttention
from gasmcast.models.shape import HeadShape
from gasmcast.spec import ClipSpec

__all__ = ["Attention", "Features", "GasmCast", "build_model"]


class Attention(NamedTuple):
    """Where the model looked."""

    layers: list[LayerAttention]
    readouts: dict[str, Tensor]
    """By stream: `(B, heads, T * P)` and `(B, heads, S * C)`."""


class GasmCast(nn.Module):
    """The whole network; untrained until weights are loaded (`build_model`, or a checkpoint)."""

    def __init__(self, model: ModelConfig, spec: ClipSpec) -> None:
        super().__init__()
        self.config, self.spec = model, spec
        self.encoder = SegmentEncoder(model, spec)
        self.head = FusionHead(model, HeadShape.of(model, spec))

    def encode(self, segments: Tensor) -> Features:
        """Encode segments, each with its predecessor.

        Args:
            segments: `(B, 1 + n, F, H, W, 3)` uint8; with n = 1 it is a pair, as in streaming. Or rows of `backbone_taps`.

        Returns:
            `semantic (B, n, L, f, P, D)` and `motion (B, n, L, C, D)`.
        """
        features: Features = self.encoder(segments)
        return features

    @torch.no_grad()
    def backbone_taps(self, clips: Tensor) -> Tensor:
        """What frozen backbones give of clips `(B, 1 + S, F, H, W, 3)`: rows `(B, X)` that `encode` takes in their place."""
        return self.encoder.taps(clips)

    @overload
    def classify(self, features: Features, return_attention: Literal[False] = False) -> Tensor: ...
    @overload
    def classify(
        self, features: Features, return_attention: Literal[True]
    ) -> tuple[Tensor, Attention]: ...
    def classify(
        self, features: Features, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Attention]:
        """Logits `(B, classes)` of a window of S encoded segments: all read-outs together."""
        scores, layers, readouts = self.head(features)
        logits = self.pool(scores)
        return (logits, Attention(layers, readouts)) if return_attention else logits

    def classify_streams(self, features: Features) -> dict[str, Tensor]:
        """Logits `(B, classes)` of each stream's own read-out (guarded: `fused` too); `pool` of them is `classify`."""
        scores: dict[str, Tensor] = self.head(features)[0]
        return scores

    def pool(self, scores: dict[str, Tensor]) -> Tensor:
        """Logits `(B, classes)` from those of the read-outs: their mean; guarded, their log-probabilities weighed by the gate.

        With all of the gate on one read-out the result is that read-out's: a guarded model can always fall back to its best stream.
        """
        if len(scores) == 1:
            return next(iter(scores.values()))
        if not self.head.guarded:
            return torch.stack(list(scores.values())).mean(0)
        share = {
            name: self.config.gate[i]
            for i, name in enumerate(("semantic", "motion", "fused"))
            if name in scores
        }
        total = sum(share.values()) or 1.0
        return torch.stack(
            [
                value.log_softmax(-1) * (share[name] / total)
                for name, value in scores.items()
                if share[name] > 0
            ]
        ).sum(0)

    def forward(self, clip: Tensor) -> Tensor:
        """`(B, 1 + S, F, H, W, 3)` uint8 -> logits `(B, classes)`."""
        return self.classify(self.encode(clip))

    @torch.no_grad()
    def fit_tap_statistics(self, clips: Iterable[Tensor]) -> None:
        """Measure the taps' per-channel statistics anew, and store them.

        Needed once before a frozen model is trained; a few hundred clips are plenty.

        Args:
            clips: batches `(B, 1 + S, F, H, W, 3)` uint8.
        """
        was_training = self.training
        self.eval()
        for name, buffer in self.encoder.named_buffers():
            if name.endswith("standard.count"):
                buffer.zero_()
        for batch in clips:
            self.encoder.fit(batch)
        self.train(was_training)

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that training changes."""
        return (p for p in self.parameters() if p.requires_grad)

    def train(self, mode: bool = True) -> GasmCast:
        """Training mode for all but frozen backbones, whose BatchNorm statistics must stay."""
        super().train(mode)
        if self.config.freeze:
            for backbone in self.encoder.backbones():
                backbone.eval()
        return self


def build_model(config: Config) -> GasmCast:
    """A model ready to be trained: backbone weights as `model.semantic_weights` and `model.motion_weights` say.

    Raises:
        MachineError: pretrained weights that can be neither downloaded nor found.
        UsageError: a file of weights that does not fit, or a variant that cannot be built.
    """
    model = GasmCast(config.model, config.spec)
    if model.encoder.semantic is not None:
        model.encoder.semantic.load(config.model.semantic_weights)
    if model.encoder.motion is not None:
        model.encoder.motion.load(config.model.motion_weights)
    return model
