"""Draw a random crop of a frame, cut it out, and map the result to the square of a clip."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.video.reader import Frame

__all__ = ["Crop", "cut", "draw_crop", "halve", "pixel_map"]


class Crop(NamedTuple):
    """A part of a frame, as shares of its height and width in 0..1."""

    top: float
    left: float
    height: float
    width: float


def draw_crop(
    rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> Crop:
    """Draw a random resized crop (Szegedy et al. 2015, as torchvision's RandomResizedCrop).

    Args:
        rng: the clip's own generator.
        scale: least and greatest share of the area.
        ratio: least and greatest width / height, relative to the frame's own.
    """
    # Ten draws, as in torchvision; a narrow range of ratios may not fit a large area.
    for _ in range(10):
        area = rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = math.sqrt(area / aspect), math.sqrt(area * aspect)
        if height <= 1 and width <= 1:
            top, left = float(rng.uniform(0, 1 - height)), float(rng.uniform(0, 1 - width))
            return Crop(top, left, height, width)

    side = math.sqrt(scale[1])
    return Crop((1 - side) / 2, (1 - side) / 2, side, side)


def cut(frame: Frame, crop: Crop) -> Frame:
    """Return a crop of `(H, W, ...)` as a view, of at least one pixel."""
    height, width = frame.shape[:2]
    top, left = round(crop.top * height), round(crop.left * width)
    bottom = max(top + 1, round((crop.top + crop.height) * height))
    right = max(left + 1, round((crop.left + crop.width) * width))
    return frame[min(top, height - 1) : bottom, min(left, width - 1) : right]


def halve(frame: Frame, pixels: int) -> Frame:
    """Halve each side of a frame until it is less than twice `pixels`.

    Bilinear resampling then skips no pixel. Halving averages two neighbors; OpenCV's bilinear
    filter does exactly that at a factor of two, in one axis too, where its area filter takes six
    times as long.
    """
    while max(frame.shape[:2]) >= 2 * pixels:
        height, width = frame.shape[:2]
        rows = height // 2 if height >= 2 * pixels else height
        columns = width // 2 if width >= 2 * pixels else width

        # An odd last row or column has no neighbor to be averaged with.
        even = frame[
            : 2 * rows if rows < height else height, : 2 * columns if columns < width else width
        ]
        halved = cv2.resize(even, (columns, rows), interpolation=cv2.INTER_LINEAR)
        frame = np.asarray(halved, np.uint8)
    return frame


@lru_cache(maxsize=4)
def pixel_map(
    warp: bytes, flip: bool, height: int, width: int, pixels: int
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return the source position of each pixel of the square, for all frames of a clip.

    `cv2.warpAffine` computes the positions again for each frame, which takes 50 % longer.

    Args:
        warp: bytes of a `(2, 3)` float64 matrix from output to input pixels of the square.
        flip: mirror the square.
        height: rows of the part that the square is resampled from.
        width: columns of that part.
        pixels: side of the square.

    Returns:
        Positions and interpolation weights, as `cv2.remap` takes them.
    """
    # Pixels of the part per pixel of the square, measured between their centers.
    x, y = width / pixels, height / pixels
    place = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])
    mirror = np.array([[-1.0, 0, pixels - 1], [0, 1, 0], [0, 0, 1]]) if flip else np.eye(3)
    matrix = place @ mirror @ np.vstack([np.frombuffer(warp).reshape(2, 3), (0, 0, 1)])

    rows, columns = np.mgrid[0:pixels, 0:pixels]
    across, down = (row[0] * columns + row[1] * rows + row[2] for row in matrix)
    return cv2.convertMaps(across.astype(np.float32), down.astype(np.float32), cv2.CV_16SC2)
