"""Represent RandAugment's operations so that they can be joined.

Warps and mixes of channels are matrices, maps of gray levels are tables. The operations and ranges
are those of timm's `rand-m7-inc1` (timm/data/auto_augment.py; Cubuk et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.video.reader import Frame

__all__ = ["apply_table", "channels", "geometric", "level_table"]

# Weights of R, G and B in luma (ITU-R BT.601).
_GRAY = np.array([0.299, 0.587, 0.114])


def geometric(name: str, amount: float, pixels: int) -> NDArray[np.float64]:
    """Return a `(3, 3)` matrix from output to input pixels, about the center of the square.

    Args:
        name: rotate, shear_x, shear_y, translate_x or translate_y.
        amount: -1..1 of timm's range.
        pixels: side of the square.
    """
    matrix = np.eye(3)
    if name == "rotate":
        angle = math.radians(30 * amount)
        matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    elif name == "shear_x":
        matrix[0, 1] = 0.3 * amount
    elif name == "shear_y":
        matrix[1, 0] = 0.3 * amount
    else:
        matrix[0 if name == "translate_x" else 1, 2] = 0.45 * amount * pixels

    # Rotation and shear are about the center; a translation is not changed by this.
    center = np.eye(3)
    center[:2, 2] = (pixels - 1) / 2
    return np.asarray(center @ matrix @ np.linalg.inv(center))


def channels(name: str, factor: float) -> NDArray[np.float64]:
    """Return a `(4, 4)` matrix on (R, G, B, 1).

    Args:
        name: brightness, contrast or color.
        factor: 1 leaves the frame unchanged; 0 gives black, mid-gray or no color.
    """
    matrix = np.eye(4)
    if name == "brightness":
        matrix[:3, :3] *= factor
    elif name == "contrast":
        matrix[:3, :3] *= factor
        matrix[:3, 3] = 128 * (1 - factor)
    else:
        matrix[:3, :3] = factor * np.eye(3) + (1 - factor) * np.tile(_GRAY, (3, 1))
    return matrix


def level_table(
    names: list[str], amount: float, sample: Callable[[], Frame], matrix: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Join the tables of several operations, applied in order.

    Args:
        names: operations on gray levels.
        amount: 0..1 of timm's range.
        sample: returns a frame of the clip, whose levels some operations look at.
        matrix: `(3, 4)` mix of channels that comes before the table.

    Returns:
        `(256, 3)`, or `(256,)` if the channels are alike, which is applied twice as fast.
    """

    def sample_levels() -> Frame:
        # Every fourth pixel each way is enough for a histogram.
        return np.asarray(cv2.transform(sample()[::4, ::4].copy(), matrix), np.uint8)

    table = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)  # (256, 3)
    for name in names:
        step = _operation_table(name, amount, sample_levels)
        table = np.take_along_axis(step, table.astype(np.intp), axis=0)
    return table[:, 0].copy() if (table == table[:, :1]).all() else table


def apply_table(image: Frame, table: NDArray[np.uint8]) -> Frame:
    """Map gray levels exactly as `cv2.LUT` does; common tables take a fifth of its time.

    Args:
        image: `(H, W, 3)` uint8.
        table: `(256,)`, or `(256, 3)` if the channels differ.

    Returns:
        `(H, W, 3)` uint8.
    """
    shortcut = _find_shortcut(table.tobytes())
    if shortcut.mask is not None:
        return np.bitwise_and(image, shortcut.mask)

    # XOR with 255 inverts a level, XOR with 0 keeps it.
    if shortcut.threshold == 0:
        return np.bitwise_xor(image, np.uint8(255))
    if shortcut.threshold is not None:
        bright = cv2.threshold(image, shortcut.threshold - 1, 255, cv2.THRESH_BINARY)[1]
        return np.bitwise_xor(image, np.asarray(bright, np.uint8))
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


class _Shortcut(NamedTuple):
    """Arithmetic that equals a table; None for what does not apply."""

    mask: np.uint8 | None = None
    """Bits that are kept (`posterize`)."""
    threshold: int | None = None
    """Level from which on levels are inverted (`solarize`; 0 for `invert`)."""


@lru_cache(maxsize=4)
def _find_shortcut(table: bytes) -> _Shortcut:
    """Return the arithmetic that equals a `(256,)` table, if there is one."""
    if len(table) != 256:
        return _Shortcut()

    # Posterize keeps the leading bits: level 255 shows which.
    mapped, levels = np.frombuffer(table, np.uint8), np.arange(256, dtype=np.uint8)
    if np.array_equal(mapped, levels & mapped[-1]):
        return _Shortcut(mask=mapped[-1])

    # Solarize inverts from the first level that changes.
    threshold = int(np.argmax(mapped != levels))
    if np.array_equal(mapped, np.where(levels < threshold, levels, 255 - levels)):
        return _Shortcut(threshold=threshold)
    return _Shortcut()


def _operation_table(name: str, amount: float, sample: Callable[[], Frame]) -> NDArray[np.uint8]:
    """Return the `(256, 3)` table of one operation; `amount` is 0..1 of timm's range."""
    levels = np.arange(256)
    if name == "posterize":
        dropped_bits = round(4 * amount)
        mapped = levels >> dropped_bits << dropped_bits
    elif name == "solarize":
        mapped = np.where(levels < 256 - round(256 * amount), levels, 255 - levels)
    elif name == "solarize_add":
        mapped = np.where(levels < 128, np.minimum(levels + round(110 * amount), 255), levels)
    elif name == "invert":
        mapped = 255 - levels
    else:
        # The other operations depend on the histogram of each channel.
        frame = sample()
        make = _stretch if name == "autocontrast" else _equalize
        return np.stack([make(frame[..., c]) for c in range(3)], axis=1)

    return np.repeat(mapped.astype(np.uint8)[:, None], 3, axis=1)


def _stretch(channel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the `(256,)` table that stretches a channel's levels to 0..255."""
    low, high = int(channel.min()), int(channel.max())
    if high <= low:
        return np.arange(256, dtype=np.uint8)
    return np.clip((np.arange(256) - low) * 255 / (high - low), 0, 255).astype(np.uint8)


def _equalize(channel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the `(256,)` table that makes a channel's histogram uniform."""
    counts = np.bincount(channel.reshape(-1), minlength=256).cumsum()
    first = counts[counts > 0][0]
    if counts[-1] == first:
        return np.arange(256, dtype=np.uint8)

    levels = (counts - first) * 255 / (counts[-1] - first)
    return np.asarray(np.clip(levels, 0, 255).round(), np.uint8)
