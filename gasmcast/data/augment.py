"""Augmentation of a training clip: everything is drawn once, then done to every frame alike.

RandAugment (Cubuk et al. 2020, arXiv 1909.13719) with the operations and ranges of timm's `rand-m7-inc1` (timm/data/auto_augment.py),
whose magnitude runs from 0 to 10. The operations that bend a picture are joined into one warp, those that mix channels
into one matrix, those that map gray levels into one table, so a frame is touched four times at most whatever was drawn.
What a warp leaves bare is gray, never a mirror image: a reflected motion would be a motion of another class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.config import AugmentConfig
from gasmcast.data.randaugment import apply_table, channels, geometric, level_table
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame
from gasmcast.video.reader import Frame

__all__ = ["Augmentation", "draw_augmentation", "draw_crop"]

_FILL = (
    115,
    115,
    115,
)  # as bright as ImageNet's mean, and gray, for frames come in either order of colors
_GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_CHANNELS = ("brightness", "contrast", "color")
_LEVELS = ("posterize", "solarize", "solarize_add", "invert", "autocontrast", "equalize")
_OPERATIONS = (*_GEOMETRIC, *_CHANNELS, *_LEVELS, "sharpness")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One draw for one clip; call it on every frame of the clip, or `placed` and then `colored`."""

    spec: ClipSpec
    crop: tuple[float, float, float, float] | None = (
        None  # top, left, height, width as shares of the frame; None: the spec's fit
    )
    flip: bool = False
    warp: NDArray[np.float64] | None = None  # (2, 3), output to input pixels, on the square frame
    matrix: NDArray[np.float64] | None = None  # (3, 4), RGB1 -> RGB
    table: NDArray[np.uint8] | None = (
        None  # levels to levels: (256,), or (256, 3) where the channels differ
    )
    sharpness: float = (
        0.0  # share of the sharpened frame's difference that is added; negative blurs
    )

    def __call__(self, frame: Frame) -> Frame:
        """`(H, W, 3)` uint8 RGB to `(pixels, pixels, 3)` uint8 RGB."""
        return self.colored(self.placed(frame))

    def colored(self, image: Frame) -> Frame:
        """`(pixels, pixels, 3)` uint8 RGB: channels, levels and sharpness."""
        if self.matrix is not None:
            image = cv2.transform(
                image, self.matrix.astype(np.float32)
            )  # in doubles it takes half as long again
        if self.table is not None:
            image = apply_table(image, self.table)
        if self.sharpness:
            smooth = cv2.GaussianBlur(image, (3, 3), 0.7)
            image = cv2.addWeighted(image, 1 + self.sharpness, smooth, -self.sharpness, 0)
        return np.asarray(image, np.uint8)

    def placed(self, frame: Frame) -> Frame:
        """Cropped, mirrored, warped: from `(H, W, ...)`, whatever its channels are, to the square in one resampling."""
        pixels = self.spec.pixels
        part = (
            _halved(_cut(frame, self.crop), pixels)
            if self.crop is not None
            else fit_frame(frame, pixels, self.spec.fit)
        )
        if self.warp is None:
            image = (
                part
                if part.shape[:2] == (pixels, pixels)
                else cv2.resize(part, (pixels, pixels), interpolation=cv2.INTER_LINEAR)
            )
            return np.asarray(cv2.flip(image, 1) if self.flip else image, np.uint8)
        places, weights = _map(self.warp.tobytes(), self.flip, part.shape[0], part.shape[1], pixels)
        image = cv2.remap(
            part,
            places,
            weights,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=_FILL,
        )
        return np.asarray(image, np.uint8)


def draw_augmentation(
    rng: np.random.Generator, config: AugmentConfig, spec: ClipSpec, sample: Callable[[], Frame]
) -> Augmentation:
    """Draw what happens to one clip.

    Args:
        rng: the clip's own generator.
        config: what may be drawn, and how strongly.
        spec: the clip spec.
        sample: gives a frame of the clip, for the operations that look at its levels; called only when one is drawn.

    Returns:
        The augmentation of every frame of this clip.
    """
    crop = (
        draw_crop(rng, config.crop_scale, config.crop_ratio)
        if config.crop_scale != (1.0, 1.0)
        else None
    )
    flip = config.flip and rng.random() < 0.5
    jitter = config.color_jitter
    matrix = np.eye(4)
    if jitter:
        for name in rng.permutation(_CHANNELS):
            matrix = (
                channels(str(name), float(rng.uniform(max(0.0, 1 - jitter), 1 + jitter))) @ matrix
            )
    warp, sharpness, mapped = np.eye(3), 0.0, []
    count, level = config.randaugment or (0, 0)
    for name in rng.choice(_OPERATIONS, count) if count else ():
        sign = 1.0 if rng.random() < 0.5 else -1.0
        if rng.random() < 0.5:  # as in timm, an operation that was drawn is done with even odds
            continue
        if name in _GEOMETRIC:
            warp = geometric(str(name), sign * level / 10, spec.pixels) @ warp
        elif name in _CHANNELS:
            matrix = channels(str(name), 1 + sign * 0.9 * level / 10) @ matrix
        elif name in _LEVELS:
            mapped.append(str(name))
        else:
            sharpness = sign * 0.9 * level / 10
    table = level_table(mapped, level / 10, sample, matrix[:3]) if mapped else None
    still, plain = np.array_equal(warp, np.eye(3)), np.array_equal(matrix, np.eye(4))
    return Augmentation(
        spec,
        crop,
        flip,
        None if still else warp[:2],
        None if plain else matrix[:3],
        table,
        sharpness,
    )


def draw_crop(
    rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[float, float, float, float]:
    """A random resized crop (Szegedy et al. 2015) as shares of a frame.

    Args:
        rng: the clip's own generator.
        scale: least and greatest share of the area.
        ratio: least and greatest width / height, where the frame itself counts as 1.

    Returns:
        `(top, left, height, width)`, each in 0..1.
    """
    for _ in range(10):
        area = rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = math.sqrt(area / aspect), math.sqrt(area * aspect)
        if height <= 1 and width <= 1:
            return (
                float(rng.uniform(0, 1 - height)),
                float(rng.uniform(0, 1 - width)),
                height,
                width,
            )
    side = math.sqrt(scale[1])
    return (1 - side) / 2, (1 - side) / 2, side, side


@lru_cache(maxsize=4)
def _map(
    warp: bytes, flip: bool, height: int, width: int, pixels: int
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Where in a part of that size the square's pixels come from, for all frames of a clip.

    `warpAffine` would work it out for each, in half as long again.
    """
    x, y = (
        width / pixels,
        height / pixels,
    )  # pixels of the part in one of the square, between their centers
    place = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])
    mirror = np.array([[-1.0, 0, pixels - 1], [0, 1, 0], [0, 0, 1]]) if flip else np.eye(3)
    inner = place @ mirror @ np.vstack([np.frombuffer(warp).reshape(2, 3), (0, 0, 1)])
    rows, columns = np.mgrid[0:pixels, 0:pixels]
    across, down = (row[0] * columns + row[1] * rows + row[2] for row in inner)
    return cv2.convertMaps(across.astype(np.float32), down.astype(np.float32), cv2.CV_16SC2)


def _cut(frame: Frame, crop: tuple[float, float, float, float]) -> Frame:
    height, width = frame.shape[:2]
    top, left = round(crop[0] * height), round(crop[1] * width)
    bottom, right = (
        max(top + 1, round((crop[0] + crop[2]) * height)),
        max(left + 1, round((crop[1] + crop[3]) * width)),
    )
    return frame[min(top, height - 1) : bottom, min(left, width - 1) : right]


def _halved(frame: Frame, pixels: int) -> Frame:
    """The frame with each side halved until it is less than twice `pixels`, so that bilinear resampling skips no pixel.

    Halving means neighbors of two. OpenCV's bilinear filter does just that at a factor of two, in one axis too, where its area filter
    takes six times as long.
    """
    while max(frame.shape[:2]) >= 2 * pixels:
        height, width = frame.shape[:2]
        rows, columns = (side // 2 if side >= 2 * pixels else side for side in (height, width))
        whole = frame[
            : 2 * rows if rows < height else height, : 2 * columns if columns < width else width
        ]
        frame = np.asarray(
            cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    return frame
