"""GASM-CAST: two frozen streams, graph attention and bottleneck cross-attention between them.

The layout follows CAST (Lee et al. 2023, CAST: Cross-Attention in Space and Time). Both streams are
read at several depths, from low-level correspondences to action-level concepts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from gasmcast.config import Config, ModelConfig
from gasmcast.models.encoder import SegmentEncoder
from gasmcast.models.head.fusion import FusionHead
from gasmcast.models.head.fusion_layer import LayerAttention
from gasmcast.models.shape import Features, HeadShape
from gasmcast.spec import ClipSpec

__all__ = ["Features", "GasmCast", "build_model"]


class Attention(NamedTuple):
    """Attention maps of the fusion head for one batch of windows."""

    layers: list[LayerAttention]
    """One entry per fusion layer: motion graph and both cross-attentions."""
    readouts: dict[str, Tensor]
    """Pooling weights by read-out, `(B, heads, T * P)` for one that pools the semantic stream
    (T = S * f frames) and `(B, heads, S * C)` for one that pools the motion stream. The keys are
    the names in `FusionHead.readouts`.
    """


class GasmCast(nn.Module):
    """The whole network; untrained until `build_model` or a checkpoint loads its weights."""

    def __init__(self, model: ModelConfig, spec: ClipSpec) -> None:
        super().__init__()
        self.config, self.spec = model, spec
        self.encoder = SegmentEncoder(model, spec)
        self.head = FusionHead(model, HeadShape.of(model, spec))

    def encode(self, segments: Tensor) -> Features:
        """Encode segments, each with its predecessor.

        Args:
            segments: `(B, 1 + n, F, H, W, 3)` uint8; with n = 1 it is a pair, as in streaming. Or
                rows `(B, X)` of `backbone_taps`.

        Returns:
            `semantic (B, n, L, f, P, D)` and `motion (B, n, L, C, D)`.
        """
        features: Features = self.encoder(segments)
        return features

    @torch.no_grad()
    def backbone_taps(self, clips: Tensor) -> Tensor:
        """Run the frozen backbones alone.

        Args:
            clips: `(B, 1 + S, F, H, W, 3)` uint8.

        Returns:
            Rows `(B, X)`, which `encode` takes in place of the clips.
        """
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
        """Classify windows of S encoded segments with all read-outs together.

        Args:
            features: `semantic (B, S, L, f, P, D)` and `motion (B, S, L, C, D)`.
            return_attention: also return the attention maps.

        Returns:
            Logits `(B, classes)`, with `Attention` when it was asked for.
        """
        scores, layers, readouts = self.head(features)
        logits = self.pool(scores)
        return (logits, Attention(layers, readouts)) if return_attention else logits

    def classify_streams(self, features: Features) -> dict[str, Tensor]:
        """Return the logits `(B, classes)` of each read-out; `pool` of them is `classify`.

        The keys are `semantic`, `motion` and, in a guarded model, `fused`.
        """
        scores: dict[str, Tensor] = self.head(features)[0]
        return scores

    def pool(self, scores: dict[str, Tensor]) -> Tensor:
        """Pool the logits of the read-outs into one `(B, classes)`.

        A joint model takes their mean. A guarded model takes the mean of their log-probabilities
        weighed by the stream weights (a logarithmic opinion pool, Genest and Zidek 1986). With the
        whole weight on one read-out the result is that read-out's: a guarded model can always fall
        back to its best stream.
        """
        if len(scores) == 1:
            return next(iter(scores.values()))
        if not self.head.guarded:
            return torch.stack(list(scores.values())).mean(0)

        # A guarded model without fusion has no `fused` scores: the other weights fill the whole.
        weights = dict(
            zip(("semantic", "motion", "fused"), self.config.stream_weights, strict=True)
        )
        weights = {name: weight for name, weight in weights.items() if name in scores}
        total = sum(weights.values()) or 1.0

        # A weight of 0 leaves a read-out out: 0 times a log-probability of -inf would be NaN.
        weighed = [
            value.log_softmax(-1) * (weights[name] / total)
            for name, value in scores.items()
            if weights[name] > 0
        ]
        return torch.stack(weighed).sum(0)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify `(B, 1 + S, F, H, W, 3)` uint8 clips: logits `(B, classes)`."""
        return self.classify(self.encode(clip))

    @torch.no_grad()
    def fit_tap_statistics(self, clips: Iterable[Tensor]) -> None:
        """Measure the per-channel statistics of the taps from scratch, and store them.

        Call it once before training on frozen backbones; a few hundred clips are enough.

        Args:
            clips: batches `(B, 1 + S, F, H, W, 3)` uint8.
        """
        was_training = self.training
        self.eval()

        # A count of zero discards the statistics of an earlier measurement.
        for name, buffer in self.encoder.named_buffers():
            if name.endswith("standard.count"):
                buffer.zero_()
        for batch in clips:
            self.encoder.fit(batch)

        self.train(was_training)

    def train(self, mode: bool = True) -> GasmCast:
        """Set training mode, except for frozen backbones: their BatchNorm statistics must stay."""
        super().train(mode)
        if self.config.freeze:
            for backbone in self.encoder.backbones():
                backbone.eval()
        return self


def build_model(config: Config) -> GasmCast:
    """Build a model for training, with backbone weights from the configuration.

    `model.semantic_weights` and `model.motion_weights` name the weights to load.

    Raises:
        MachineError: pretrained weights can be neither downloaded nor found.
        UsageError: a file of weights does not fit, or the variant cannot be built.
    """
    model = GasmCast(config.model, config.spec)
    if model.encoder.semantic is not None:
        model.encoder.semantic.load(config.model.semantic_weights)
    if model.encoder.motion is not None:
        model.encoder.motion.load(config.model.motion_weights)
    return model
