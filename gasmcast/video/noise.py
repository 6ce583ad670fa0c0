"""Random pixels in the shapes of the model's inputs, for measurements and self-checks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["drifting_noise", "noise_pixels"]


def noise_pixels(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Return uniformly random bytes of any shape; the same for the same seed."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def drifting_noise(count: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Return clips of coarse colored patches that drift over fine noise, similar to video.

    Args:
        count: number of clips.
        shape: of one clip, `(segments, frames, H, W, 3)`.
        seed: the same pixels for the same seed.

    Returns:
        `(count, *shape)` uint8.
    """
    rng = np.random.default_rng(seed)
    segments, frames, height, width, channels = shape

    # Patches of 8 x 8 pixels survive the resize to the motion stream's resolution.
    coarse = rng.integers(0, 200, (count, height // 8 + 1, width // 8 + 1, channels))
    patches = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]

    # One pixel of motion per frame; 200 + 56 stays within a byte.
    pixels = np.empty((count, segments, frames, height, width, channels), np.uint8)
    for segment in range(segments):
        for frame in range(frames):
            shifted = np.roll(patches, segment * frames + frame, axis=2)
            pixels[:, segment, frame] = shifted + rng.integers(0, 56, patches.shape)
    return pixels
