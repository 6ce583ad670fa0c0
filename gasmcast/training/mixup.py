"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of whole batches: one draw a step, the same box in every frame of a clip."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["mix_batch"]


def mix_batch(
    clips: Tensor, targets: Tensor, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Each clip mixed with its neighbor in the batch.

    Args:
        clips: `(B, 1+S, F, H, W, 3)` uint8.
        targets: `(B, classes)` probabilities, already swapped where a clip was mirrored.
        mixup: alpha of the Beta distribution of the share; 0: never.
        cutmix: the same for CutMix; with both, each step takes one of them with even odds (timm's default).
        rng: draws the step's choice, share and box.

    Returns:
        Clips and targets of the same shapes and types.
    """
    if len(clips) < 2 or (mixup == 0 and cutmix == 0):
        return clips, targets
    cut = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    share = float(rng.beta(cutmix, cutmix) if cut else rng.beta(mixup, mixup))
    other = clips.roll(1, 0)
    if cut:
        height, width = clips.shape[-3:-1]
        side = np.sqrt(1 - share)
        y, x = rng.integers(height), rng.integers(width)
        top, bottom = (int(np.clip(y + sign * side * height / 2, 0, height)) for sign in (-1, 1))
        left, right = (int(np.clip(x + sign * side * width / 2, 0, width)) for sign in (-1, 1))
        mixed = clips.clone()
        mixed[..., top:bottom, left:right, :] = other[..., top:bottom, left:right, :]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = torch.lerp(other.float(), clips.float(), share)
        mixed = (mixed if clips.is_floating_point() else mixed.round_()).to(
            clips.dtype
        )  # rows of a feature cache are mixed too
    return mixed, torch.lerp(targets.roll(1, 0), targets, share)
