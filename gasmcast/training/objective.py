"""Loss of a training step, and the model together with it as one module.

Whatever wraps a module (DDP, FSDP, autocast, compile) thereby wraps a whole training step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gasmcast.config import TrainConfig
from gasmcast.models.model import Features, GasmCast

__all__ = ["Objective", "Outcome", "fusion_loss", "separate_loss", "soft_targets"]


def soft_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Convert class numbers `(B,)` to smoothed probabilities `(B, classes)`.

    Label smoothing (Szegedy et al. 2016) spreads `smoothing` evenly over all classes.
    """
    even = torch.full((len(labels), classes), smoothing / classes, device=labels.device)
    return even.scatter_add_(1, labels[:, None], torch.full_like(even[:, :1], 1 - smoothing))


def fusion_loss(
    logits: Tensor, streams: Mapping[str, Tensor], targets: Tensor, stream_loss: float = 0.0
) -> Tensor:
    """Return the cross-entropy of the fused read-out plus a weighted term for each stream.

    Args:
        logits: `(B, classes)` of the fused read-out.
        streams: `(B, classes)` of each stream's read-out; empty when `stream_loss` is 0.
        targets: `(B, classes)` probabilities, smoothed and mixed.
        stream_loss: weight of each stream's term.

    Returns:
        The mean over the batch, a float32 scalar.
    """
    loss = F.cross_entropy(logits.float(), targets)
    for stream_logits in streams.values():
        loss = loss + stream_loss * F.cross_entropy(stream_logits.float(), targets)
    return loss


def separate_loss(scores: Mapping[str, Tensor], targets: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of all read-outs, which a guarded model minimizes.

    The pooled logits are not part of it. With a loss of the pool, a read-out that has memorized a
    clip would take that clip's gradient away from the others, which is how a fusion comes to lose
    to its better stream.

    Args:
        scores: `(B, classes)` logits by read-out.
        targets: `(B, classes)` probabilities, or `(B, R, classes)` with those of each read-out.

    Returns:
        A float32 scalar.
    """
    each = targets.unbind(1) if targets.dim() == 3 else [targets] * len(scores)
    terms = [
        F.cross_entropy(logits.float(), target)
        for logits, target in zip(scores.values(), each, strict=True)
    ]
    return torch.stack(terms).sum()


class Outcome(NamedTuple):
    """Scalar loss, and the logits `(B, classes)` it was computed from."""

    loss: Tensor
    logits: Tensor


class Objective(nn.Module):
    """Model with its loss: clips (or cached features) and targets in, loss and logits out."""

    def __init__(self, model: GasmCast, train: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.stream_loss = train.stream_loss

    def forward(self, clips: Tensor | Features, targets: Tensor) -> Outcome:
        """Run one forward pass.

        Args:
            clips: `(B, 1+S, F, H, W, 3)` uint8, or encoded features.
            targets: `(B, classes)` probabilities; `(B, R, classes)` for separate read-outs.
        """
        features = self.model.encode(clips) if isinstance(clips, Tensor) else clips

        # Guarded read-outs learn apart from each other.
        if self.model.head.guarded:
            scores = self.model.classify_streams(features)
            return Outcome(separate_loss(scores, targets), self.model.pool(scores))

        if not self.stream_loss:
            logits = self.model.classify(features)
            return Outcome(fusion_loss(logits, {}, targets), logits)

        # Pooling the streams gives the logits of `classify` without a second run of the head.
        streams = self.model.classify_streams(features)
        logits = self.model.pool(streams)
        return Outcome(fusion_loss(logits, streams, targets, self.stream_loss), logits)
