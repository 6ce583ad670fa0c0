"""The look of a synthetic scene: a repeating background, textured objects, and their positions.

Camera moves are endless: a pan over a periodic texture, and a zoom through octaves of it that fade
in and out, as a Shepard tone rises forever (Shepard 1964, doi 10.1121/1.1919362).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["MARGIN", "World"]

MARGIN = 12
"""Pixels around the frame that shake may reveal."""
_ZOOM = 3.0
"""Growth per cycle."""
_EDGE = 0.24
"""Distance outside the frame, in frame widths or heights, at which an object is out of sight."""
_PERIOD = 1 + 2 * _EDGE
"""Period of a pan in frame widths: an object leaves on one side before it returns on the other."""
_SPRITE = 96
"""Side of an object's own picture in pixels."""
_TILE = 256
"""Period of the background texture in pixels."""


@dataclass(frozen=True, slots=True)
class _Pose:
    """An object in a frame."""

    thing: int
    """Number of the object."""
    x: float
    """Center in frame widths."""
    y: float
    """Center in frame heights."""
    size: float
    """Size as a share of the frame height."""
    opacity: float
    """Opacity in 0..1."""


class World:
    """Background and objects of one scene, drawn at random."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        """Draw a world for frames of `size` (width, height) in pixels."""
        # The order of the draws is part of the result: the same seed must give the same frames.
        self.size = size
        self.tiles = [_texture(rng, _TILE) for _ in range(3)]
        self.offsets = rng.uniform(0, 256, (3, 2))
        self.octave = float(rng.uniform(0, 3))
        self.things = [_thing(rng) for _ in range(2)]
        self.home = rng.uniform(0.3, 0.7, 2)
        self.angle = float(rng.uniform(0, 2 * math.pi))
        self.share = float(rng.uniform(0.28, 0.42))
        self.tint = rng.uniform(60, 190, 3).astype(np.float32)
        self.contrast = float(rng.uniform(15, 45))

    def background(self, pan: float, zoom: float) -> NDArray[np.float32]:
        """Return the canvas behind the objects, with a margin for shake.

        Args:
            pan: position of the camera in cycles.
            zoom: zoom of the camera in cycles.

        Returns:
            `(height + 2 MARGIN, width + 2 MARGIN, 3)` in gray levels.
        """
        width, height = self.size[0] + 2 * MARGIN, self.size[1] + 2 * MARGIN
        total = np.zeros((height, width), np.float32)

        # Three octaves: while one fades out at the large end, the next fades in at the small end.
        for i, tile in enumerate(self.tiles):
            octave = (self.octave + zoom + i) % 3
            weight = math.sin(math.pi * octave / 3) ** 2 / 1.5
            scale = _ZOOM ** (octave - 1.5)
            x0 = self.offsets[i, 0] + (pan * _PERIOD * self.size[0] - width / 2) / scale
            y0 = self.offsets[i, 1] - height / 2 / scale
            matrix = np.array([[1 / scale, 0, x0 % _TILE], [0, 1 / scale, y0 % _TILE]])
            layer = cv2.warpAffine(
                tile,
                matrix,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_WRAP,
            )
            total += np.float32(weight) * layer

        return np.asarray(self.tint + self.contrast * total[..., None], np.float32)

    def poses(self, motion: str, phase: float) -> list[_Pose]:
        """Return the objects at a phase of a motion's cycle, from back to front.

        Args:
            motion: name of the motion, a key of `scenes.PAIRS`, or hold.
            phase: in cycles.
        """
        u = phase % 1.0
        x, y = float(self.home[0]), float(self.home[1])
        dx, dy = math.cos(self.angle), math.sin(self.angle)
        size = self.share
        # Motions that restart in full view hide the jump by fading out.
        fade = min(1.0, min(u, 1 - u) / 0.12)

        if motion == "across":
            return [_Pose(0, -_EDGE + u * (1 + 2 * _EDGE), y, size, 1.0)]
        if motion == "fall":
            return [_Pose(0, x, -_EDGE + u * (1 + 2 * _EDGE), size, 1.0)]
        if motion == "near":
            return [_Pose(0, x, y, size * _ZOOM ** (u - 0.4), fade)]

        if motion == "meet":
            half = 0.12 + 0.45 * (1 - u)
            return [
                _Pose(i, x + sign * half * dx, y + sign * half * dy, size, fade)
                for i, sign in enumerate((1, -1))
            ]
        if motion == "cover":
            away = 1.1 * max(0.0, 0.8 - u) / 0.8
            cover = _Pose(1, x + away * dx, y + away * dy, size * 1.7, fade)
            return [_Pose(0, x, y, size, fade), cover]

        if motion == "pan":
            return [_Pose(0, (x - phase * _PERIOD + _EDGE) % _PERIOD - _EDGE, y, size, 1.0)]
        if motion == "zoom":
            scale = _ZOOM ** (u - 0.4)
            return [_Pose(0, 0.5 + (x - 0.5) * scale, 0.5 + (y - 0.5) * scale, size * scale, fade)]
        return [_Pose(0, x, y, size, 1.0)]

    def draw(self, frame: NDArray[np.float32], pose: _Pose, dx: float, dy: float) -> None:
        """Blend one object over the frame, in place.

        Args:
            frame: `(height, width, 3)` in gray levels.
            pose: the object.
            dx: shake of the camera to the right, in pixels.
            dy: shake of the camera downward, in pixels.
        """
        width, height = self.size
        scale = pose.size * height / _SPRITE
        cx, cy, reach = pose.x * width - dx, pose.y * height - dy, pose.size * height / 2 + 1

        # Only the part of the frame that the object covers is touched.
        left, right = max(0, math.floor(cx - reach)), min(width, math.ceil(cx + reach))
        top, bottom = max(0, math.floor(cy - reach)), min(height, math.ceil(cy + reach))
        if left >= right or top >= bottom or pose.opacity <= 0:
            return

        corner_x, corner_y = scale * _SPRITE / 2, scale * _SPRITE / 2
        matrix = np.array([[scale, 0, cx - left - corner_x], [0, scale, cy - top - corner_y]])
        sprite = cv2.warpAffine(
            self.things[pose.thing], matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR
        )
        mask = sprite[..., 3:] * np.float32(pose.opacity)
        region = frame[top:bottom, left:right]
        region += mask * (sprite[..., :3] - region)


def _texture(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Return a texture that repeats after `size` pixels, of mean 0 and deviation 1."""
    axis = np.arange(size, dtype=np.float32) * np.float32(2 * math.pi / size)
    cycles = rng.integers(-5, 6, (2, 10)).astype(np.float32)
    turns = rng.uniform(0, 2 * math.pi, 10).astype(np.float32)

    # A sum of ten plane waves, each by sin(a + b) = sin(a) cos(b) + cos(a) sin(b).
    across, down = np.outer(axis, cycles[0]) + turns, np.outer(cycles[1], axis)
    total = (np.sin(across) @ np.cos(down) + np.cos(across) @ np.sin(down)).T
    total = np.sign(total) * np.sqrt(np.abs(total))
    return np.asarray((total - total.mean()) / (total.std() + 1e-6), np.float32)


def _thing(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a textured shape with a rim.

    Returns:
        `(_SPRITE, _SPRITE, 4)`: RGB in gray levels, and opacity in 0..1.
    """
    axis = (np.arange(_SPRITE) + 0.5) / _SPRITE * 2 - 1
    x, y = np.meshgrid(axis, axis)
    turn = rng.uniform(0, 2 * math.pi)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) + turn

    # Distance from the center to the edge: that of a regular polygon, or of a disc for 7 sides.
    sides = int(rng.integers(3, 8))
    edge: float | NDArray[np.float64] = 0.9
    if sides != 7:
        half = math.pi / sides
        edge = 0.9 * np.cos(half) / np.cos((angle % (2 * math.pi / sides)) - half)
    inside = np.clip((edge - radius) * _SPRITE / 4, 0, 1)

    stripes = np.sin((x * math.cos(turn) + y * math.sin(turn)) * rng.uniform(2, 9)) > 0
    inks = rng.uniform(0, 255, (3, 3))
    color = np.where(stripes[..., None], inks[0], inks[1])
    color = np.where((edge - radius)[..., None] < 0.14, inks[2], color)
    return np.dstack([color, inside]).astype(np.float32)
