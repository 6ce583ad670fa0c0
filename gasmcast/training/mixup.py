"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of whole batches.

One draw per step; the box of CutMix is the same in every frame of a clip.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["mix_batch"]


def mix_batch(
    clips: Tensor, targets: Tensor, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each clip with its neighbor in the batch.

    Args:
        clips: `(B, 1+S, F, H, W, 3)` uint8, or rows `(B, X)` of a feature cache.
        targets: `(B, classes)` probabilities, already swapped where a clip was mirrored.
        mixup: alpha of the Beta distribution of the share; 0: never.
        cutmix: the same for CutMix; with both, each step draws one of them with even odds, the
            default of timm (`timm/data/mixup.py`).
        rng: draws the choice, the share and the box of the step.

    Returns:
        Clips and targets of the same shapes and types.
    """
    if len(clips) < 2 or (mixup == 0 and cutmix == 0):
        return clips, targets

    # The Beta distribution prefers shares near 0 and 1 where alpha is small.
    use_cutmix = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if use_cutmix else mixup
    share = float(rng.beta(alpha, alpha))

    # The neighbor in the batch is as random as any other clip.
    neighbors = clips.roll(1, 0)
    if use_cutmix:
        mixed, share = _cut(clips, neighbors, share, rng)
    else:
        blended = torch.lerp(neighbors.float(), clips.float(), share)
        mixed = (blended if clips.is_floating_point() else blended.round_()).to(clips.dtype)
    return mixed, torch.lerp(targets.roll(1, 0), targets, share)


def _cut(
    clips: Tensor, neighbors: Tensor, share: float, rng: np.random.Generator
) -> tuple[Tensor, float]:
    """Paste a box of the neighbors into the clips; return the share of pixels that stays."""
    height, width = clips.shape[-3:-1]

    # A box of the same shape as the frame, centered anywhere in it.
    side = np.sqrt(1 - share)
    y, x = rng.integers(height), rng.integers(width)
    top, bottom = (int(np.clip(y + sign * side * height / 2, 0, height)) for sign in (-1, 1))
    left, right = (int(np.clip(x + sign * side * width / 2, 0, width)) for sign in (-1, 1))

    # The border of the frame may have clipped the box, so its share is counted again.
    mixed = clips.clone()
    mixed[..., top:bottom, left:right, :] = neighbors[..., top:bottom, left:right, :]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
