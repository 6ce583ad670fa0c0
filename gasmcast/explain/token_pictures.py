"""Draw the tokens of a tap as colors: the first three principal components of all its tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gasmcast.explain.attention_pictures import strip

__all__ = ["draw_tokens"]


def draw_tokens(tokens: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return one picture of `(m, rows, cols, channels)` tokens, the clips side by side.

    Equal colors mean similar tokens, in all clips of the picture. Such pictures
    are those of Oquab et al. 2024 (DINOv2).
    """
    m, rows, cols, channels = tokens.shape
    flat = np.asarray(tokens, np.float64).reshape(-1, channels)  # (m rows cols, channels)
    centered = flat - flat.mean(0)
    # Channels of a few percent of the energy would be lost behind outlier channels otherwise.
    centered /= centered.std(0) + 1e-6
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    components = np.zeros((len(flat), 3))
    components[:, : min(3, len(axes))] = centered @ axes[:3].T

    # Outer percentiles, so that a single token does not set the scale.
    low, high = np.percentile(components, [2, 98], axis=0)
    colors = np.clip((components - low) / np.maximum(high - low, 1e-9), 0, 1)
    pictures = (255 * colors).astype(np.uint8).reshape(m, rows, cols, 3)
    return strip([picture.repeat(12, 0).repeat(12, 1) for picture in pictures])
