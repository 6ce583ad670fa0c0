"""What training minimizes, as a function of logits, stream logits and soft targets."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["fusion_loss", "separate_loss", "soft_targets"]


def soft_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """`(B,)` class numbers -> `(B, classes)` probabilities, `smoothing` of them spread evenly (Szegedy et al. 2016)."""
    even = torch.full((len(labels), classes), smoothing / classes, device=labels.device)
    return even.scatter_add_(1, labels[:, None], torch.full_like(even[:, :1], 1 - smoothing))


def fusion_loss(
    logits: Tensor, streams: Mapping[str, Tensor], targets: Tensor, stream_loss: float = 0.0
) -> Tensor:
    """Cross-entropy of the fused read-out, plus `stream_loss` times that of each stream's own.

    Args:
        logits: `(B, classes)`.
        streams: each stream's own `(B, classes)`; empty when `stream_loss` is 0.
        targets: `(B, classes)` probabilities: smoothed, mixed.
        stream_loss: weight of each stream's term.

    Returns:
        The mean over the batch, a scalar, in float32.
    """
    loss = F.cross_entropy(logits.float(), targets)
    for own in streams.values():
        loss = loss + stream_loss * F.cross_entropy(own.float(), targets)
    return loss


def separate_loss(scores: Mapping[str, Tensor], targets: Tensor) -> Tensor:
    """The sum of every read-out's own cross-entropy: what a guarded model minimizes.

    The pooled logits are not in it. A loss of the pool would let a read-out that has learned a clip by heart take that clip's gradient
    away from the others, which is how a fusion comes to lose to its better stream.

    Args:
        scores: `(B, classes)` by read-out.
        targets: `(B, classes)` probabilities.

    Returns:
        A scalar, in float32.
    """
    return torch.stack([F.cross_entropy(own.float(), targets) for own in scores.values()]).sum()
