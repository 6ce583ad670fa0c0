"""RandAugment's operations as what joins them: warps as matrices, mixes of channels as matrices, maps of gray levels as tables.

Ranges are those of timm's `rand-m7-inc1` (timm/data/auto_augment.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.video.reader import Frame

__all__ = ["apply_table", "channels", "geometric", "level_table"]

_GRAY = np.array([0.299, 0.587, 0.114])


def geometric(name: str, amount: float, pixels: int) -> NDArray[np.float64]:
    """Output to input pixels about the center; `amount` -1..1 of timm's range."""
    inner = np.eye(3)
    if name == "rotate":
        angle = math.radians(30 * amount)
        inner[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    elif name == "shear_x":
        inner[0, 1] = 0.3 * amount
    elif name == "shear_y":
        inner[1, 0] = 0.3 * amount
    else:
        inner[0 if name == "translate_x" else 1, 2] = 0.45 * amount * pixels
    center = np.eye(3)
    center[:2, 2] = (pixels - 1) / 2
    return np.asarray(center @ inner @ np.linalg.inv(center))


def channels(name: str, factor: float) -> NDArray[np.float64]:
    """A `(4, 4)` matrix on RGB1: `factor` 1 leaves the picture alone, 0 gives black, mid-gray, or no color."""
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
    """The tables of `names` one after the other, `(256, 3)`, or `(256,)` where the channels are alike: that is twice as quick."""
    table = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for name in names:
        # Every fourth pixel each way tells the levels.
        own = _levels(
            name,
            amount,
            lambda: np.asarray(cv2.transform(sample()[::4, ::4].copy(), matrix), np.uint8),
        )
        table = np.take_along_axis(own, table.astype(np.intp), axis=0)
    return table[:, 0].copy() if (table == table[:, :1]).all() else table


def apply_table(image: Frame, table: NDArray[np.uint8]) -> Frame:
    """`cv2.LUT`, and just its pixels, in a fifth of the time where the table is one that arithmetic knows.

    Args:
        image: `(H, W, 3)` uint8.
        table: levels to levels, `(256,)`, or `(256, 3)` where the channels differ.

    Returns:
        `(H, W, 3)` uint8.
    """
    mask, threshold = _arithmetic(table.tobytes())
    if mask is not None:
        return np.bitwise_and(image, mask)
    if threshold is not None:
        turned = (
            cv2.threshold(image, threshold - 1, 255, cv2.THRESH_BINARY)[1] if threshold else 255
        )
        return np.bitwise_xor(image, np.asarray(turned, np.uint8))
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


@lru_cache(maxsize=4)
def _arithmetic(table: bytes) -> tuple[np.uint8 | None, int | None]:
    """The bits that a table keeps (`posterize`), or else from which level on it turns levels round (`solarize`, 0: `invert`)."""
    if len(table) != 256:
        return None, None
    found, levels = np.frombuffer(table, np.uint8), np.arange(256, dtype=np.uint8)
    if np.array_equal(found, levels & found[-1]):
        return found[-1], None
    threshold = int(np.argmax(found != levels))
    return None, threshold if np.array_equal(
        found, np.where(levels < threshold, levels, 255 - levels)
    ) else None


def _levels(name: str, amount: float, sample: Callable[[], Frame]) -> NDArray[np.uint8]:
    """A `(256, 3)` table; `amount` 0..1 of timm's range."""
    levels = np.arange(256)
    if name == "posterize":
        keep = 8 - round(4 * amount)
        one = levels >> (8 - keep) << (8 - keep)
    elif name == "solarize":
        one = np.where(levels < 256 - round(256 * amount), levels, 255 - levels)
    elif name == "solarize_add":
        one = np.where(levels < 128, np.minimum(levels + round(110 * amount), 255), levels)
    elif name == "invert":
        one = 255 - levels
    else:
        frame = sample()
        return np.stack(
            [
                _stretch(frame[..., c]) if name == "autocontrast" else _equalize(frame[..., c])
                for c in range(3)
            ],
            axis=1,
        )
    return np.repeat(one.astype(np.uint8)[:, None], 3, axis=1)


def _stretch(channel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    low, high = int(channel.min()), int(channel.max())
    if high <= low:
        return np.arange(256, dtype=np.uint8)
    return np.clip((np.arange(256) - low) * 255 / (high - low), 0, 255).astype(np.uint8)


def _equalize(channel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    counts = np.bincount(channel.reshape(-1), minlength=256).cumsum()
    first = counts[counts > 0][0]
    if counts[-1] == first:
        return np.arange(256, dtype=np.uint8)
    return np.asarray(
        np.clip((counts - first) * 255 / (counts[-1] - first), 0, 255).round(), np.uint8
    )
