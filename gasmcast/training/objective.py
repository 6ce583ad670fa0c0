"""The model with its loss as one module, so that whatever wraps it (DDP, FSDP, autocast, compile) wraps a whole training step."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from gasmcast.config import TrainConfig
from gasmcast.models.model import Features, GasmCast
from gasmcast.training.loss import fusion_loss, separate_loss

__all__ = ["Objective", "Outcome"]


class Outcome(NamedTuple):
    """A scalar loss and the logits `(B, classes)` that it came from."""

    loss: Tensor
    logits: Tensor


class Objective(nn.Module):
    """Clips, or the features of a cache, and targets in; loss and logits out."""

    def __init__(self, model: GasmCast, train: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.stream_loss = train.stream_loss

    def forward(self, clips: Tensor | Features, targets: Tensor) -> Outcome:
        """One forward pass.

        Args:
            clips: `(B, 1+S, F, H, W, 3)` uint8, or encoded features.
            targets: `(B, classes)` probabilities.
        """
        features = self.model.encode(clips) if isinstance(clips, Tensor) else clips
        if self.model.head.guarded:
            scores = self.model.classify_streams(features)
            return Outcome(separate_loss(scores, targets), self.model.pool(scores))
        if not self.stream_loss:
            logits = self.model.classify(features)
            return Outcome(fusion_loss(logits, {}, targets), logits)
        streams = self.model.classify_streams(features)
        logits = self.model.pool(streams)  # what `classify` gives, without running the head twice
        return Outcome(fusion_loss(logits, streams, targets, self.stream_loss), logits)
