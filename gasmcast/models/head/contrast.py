"""What changes in a window, made louder than what stays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["TimeContrast"]


class TimeContrast(nn.Module):
    """Adds a token's departure from the mean of its place over the window, by a learned gain a channel.

    Meant for few clips: what stays is footage, which a head then learns by heart, and what changes tells the order of events. Nothing
    is lost: the map can be undone while a gain is not -1. Our own; measured in docs/experiments/fusion.md.
    """

    def __init__(self, width: int, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((width,), gain))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, P, D)` -> the same."""
        return x + self.gain * (x - x.mean(1, keepdim=True))
