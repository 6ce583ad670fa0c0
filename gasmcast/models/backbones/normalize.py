"""Convert camera pixels to the input of a network, inside the exported graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Normalize", "halve"]


class Normalize(nn.Module):
    """Normalize pixels in 0..255 per channel, `(x / 255 - mean) / std`, in one multiply and add."""

    scale: Tensor
    """`(3,)` factor per channel."""
    shift: Tensor
    """`(3,)` offset per channel."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        # Not persistent: the values follow from the backbone's name, so checkpoints omit them.
        self.register_buffer("scale", torch.tensor([1 / (255 * s) for s in std]), persistent=False)
        shift = [-m / s for m, s in zip(mean, std, strict=True)]
        self.register_buffer("shift", torch.tensor(shift), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `(..., 3)` float in 0..255 to the same shape."""
        return x * self.scale + self.shift


def halve(x: Tensor) -> Tensor:
    """Return the 2 x 2 mean of `(..., H, W, 3)`: `(..., H/2, W/2, 3)`.

    Strided slices take a tenth of the time of a mean over axes on a CPU, and are exact for whole
    numbers.
    """
    x = x[..., 0::2, :, :] + x[..., 1::2, :, :]  # (..., H/2, W, 3)
    return (x[..., 0::2, :] + x[..., 1::2, :]) * 0.25  # (..., H/2, W/2, 3)
