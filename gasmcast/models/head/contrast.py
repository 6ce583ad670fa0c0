"""Amplify what changes within a window relative to what stays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["TimeContrast"]


class TimeContrast(nn.Module):
    """Add a token's deviation from its mean over the window, by a learned gain per channel.

    Meant for training sets of few clips: what stays is the footage, which a head memorizes, and
    what changes carries the order of events. No information is lost: the map is invertible while no
    gain is -1. A method of this project; measured in docs/experiments/fusion.md.
    """

    def __init__(self, width: int, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((width,), gain))

    def forward(self, x: Tensor) -> Tensor:
        """Amplify changes over axis 1: `(B, T, P, D)` -> `(B, T, P, D)`."""
        return x + self.gain * (x - x.mean(1, keepdim=True))
