"""Augment a training clip: everything is drawn once, then applied to every frame alike.

RandAugment (Cubuk et al. 2020, arXiv 1909.13719) with the operations and ranges of timm's
`rand-m7-inc1` (timm/data/auto_augment.py), whose magnitude runs from 0 to 10. Geometric operations
are joined into one warp, those that mix channels into one matrix, those that map gray levels into
one table, so a frame is processed four times at most, whatever was drawn. Pixels from outside the
frame are gray, never a mirror image: a reflected motion would be a motion of another class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.config import AugmentConfig
from gasmcast.data.crop import Crop, cut, draw_crop, halve, pixel_map
from gasmcast.data.randaugment import apply_table, channels, geometric, level_table
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame
from gasmcast.video.reader import Frame

__all__ = ["Augmentation", "draw_augmentation"]

# As bright as ImageNet's mean, and gray, because frames come in either order of colors.
_FILL = (115, 115, 115)
_GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_CHANNELS = ("brightness", "contrast", "color")
_LEVELS = ("posterize", "solarize", "solarize_add", "invert", "autocontrast", "equalize")
_OPERATIONS = (*_GEOMETRIC, *_CHANNELS, *_LEVELS, "sharpness")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One draw for one clip; call it on every frame of the clip, or `placed` and then `colored`."""

    spec: ClipSpec
    crop: Crop | None = None
    """Part of the frame that is used; None: the fit of the clip spec."""
    flip: bool = False
    """Mirror left and right."""
    warp: NDArray[np.float64] | None = None
    """`(2, 3)` matrix from output to input pixels, on the square frame."""
    matrix: NDArray[np.float64] | None = None
    """`(3, 4)` matrix from (R, G, B, 1) to RGB."""
    table: NDArray[np.uint8] | None = None
    """Map of gray levels: `(256,)`, or `(256, 3)` if the channels differ."""
    sharpness: float = 0.0
    """Share of the sharpened frame's difference that is added; a negative one blurs."""

    def __call__(self, frame: Frame) -> Frame:
        """Augment `(H, W, 3)` uint8 RGB to `(pixels, pixels, 3)` uint8 RGB."""
        return self.colored(self.placed(frame))

    def placed(self, frame: Frame) -> Frame:
        """Crop, mirror and warp `(H, W, ...)` to the square, in one resampling.

        The order of the channels does not matter here.
        """
        pixels = self.spec.pixels
        if self.crop is not None:
            part = halve(cut(frame, self.crop), pixels)
        else:
            part = fit_frame(frame, pixels, self.spec.fit)

        # Without a warp, resizing and mirroring are faster than a general map.
        if self.warp is None:
            square = part
            if part.shape[:2] != (pixels, pixels):
                square = cv2.resize(part, (pixels, pixels), interpolation=cv2.INTER_LINEAR)
            return np.asarray(cv2.flip(square, 1) if self.flip else square, np.uint8)

        height, width = part.shape[:2]
        positions, weights = pixel_map(self.warp.tobytes(), self.flip, height, width, pixels)
        warped = cv2.remap(
            part,
            positions,
            weights,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=_FILL,
        )
        return np.asarray(warped, np.uint8)

    def colored(self, image: Frame) -> Frame:
        """Apply channels, levels and sharpness to `(pixels, pixels, 3)` uint8 RGB."""
        if self.matrix is not None:
            # In double precision it takes 50 % longer.
            image = cv2.transform(image, self.matrix.astype(np.float32))
        if self.table is not None:
            image = apply_table(image, self.table)
        if self.sharpness:
            smooth = cv2.GaussianBlur(image, (3, 3), 0.7)
            image = cv2.addWeighted(image, 1 + self.sharpness, smooth, -self.sharpness, 0)
        return np.asarray(image, np.uint8)


@dataclass
class _Operations:
    """Operations drawn so far, joined by kind."""

    warp: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    levels: list[str] = field(default_factory=list)
    sharpness: float = 0.0


def draw_augmentation(
    rng: np.random.Generator, config: AugmentConfig, spec: ClipSpec, sample: Callable[[], Frame]
) -> Augmentation:
    """Draw the augmentation of one clip.

    Args:
        rng: the clip's own generator.
        config: the kinds and strengths that may be drawn.
        spec: the clip spec.
        sample: returns a frame of the clip for operations that look at its levels; called only if
            one is drawn.
    """
    # The order of the draws is part of the result: the same seed must give the same clips.
    crop = None
    if config.crop_scale != (1.0, 1.0):
        crop = draw_crop(rng, config.crop_scale, config.crop_ratio)
    flip = config.flip and rng.random() < 0.5
    drawn = _Operations()
    if config.color_jitter:
        _draw_jitter(rng, config.color_jitter, drawn)
    count, magnitude = config.randaugment or (0, 0)
    if count:
        _draw_operations(rng, count, magnitude, spec.pixels, drawn)

    # Identities are left out, so that plain clips skip the steps.
    still = np.array_equal(drawn.warp, np.eye(3))
    plain = np.array_equal(drawn.matrix, np.eye(4))
    matrix = drawn.matrix[:3]
    return Augmentation(
        spec=spec,
        crop=crop,
        flip=flip,
        warp=None if still else drawn.warp[:2],
        matrix=None if plain else matrix,
        table=level_table(drawn.levels, magnitude / 10, sample, matrix) if drawn.levels else None,
        sharpness=drawn.sharpness,
    )


def _draw_jitter(rng: np.random.Generator, strength: float, drawn: _Operations) -> None:
    """Draw brightness, contrast and color in random order (torchvision's ColorJitter)."""
    for name in rng.permutation(_CHANNELS):
        factor = float(rng.uniform(max(0.0, 1 - strength), 1 + strength))
        drawn.matrix = channels(str(name), factor) @ drawn.matrix


def _draw_operations(
    rng: np.random.Generator, count: int, magnitude: float, pixels: int, drawn: _Operations
) -> None:
    """Draw `count` operations of RandAugment with a magnitude of 0..10, timm's range."""
    for name in rng.choice(_OPERATIONS, count):
        sign = 1.0 if rng.random() < 0.5 else -1.0
        # As in timm, an operation that was drawn is applied with probability 0.5.
        if rng.random() < 0.5:
            continue

        if name in _GEOMETRIC:
            drawn.warp = geometric(str(name), sign * magnitude / 10, pixels) @ drawn.warp
        elif name in _CHANNELS:
            drawn.matrix = channels(str(name), 1 + sign * 0.9 * magnitude / 10) @ drawn.matrix
        elif name in _LEVELS:
            drawn.levels.append(str(name))
        else:
            drawn.sharpness = sign * 0.9 * magnitude / 10
