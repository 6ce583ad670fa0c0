"""Made-up scenes whose classes differ only in the direction of time.

A scene moves through a cycle: its phase is `phase + direction * speed * t`, and the picture is a function of the phase.
The first phase is uniform and nothing else depends on the class, so a class is stationary in time and its reversed twin
is the same process with the other `direction`. No single frame and no unordered set of frames tells them apart, only
their order. Where a cycle begins again, the thing is out of sight.

Camera moves are endless: a pan over a periodic texture, a zoom through octaves of it that fade in and out, as a Shepard
tone rises for ever (Shepard 1964, doi 10.1121/1.1919362).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASSES", "Scene", "draw_scene", "render", "reversed_class"]

# motion -> class that runs through the cycle forwards, and its twin that runs backwards (official SSv2 names)
PAIRS = {
    "across": ("Pushing something from left to right", "Pushing something from right to left"),
    "fall": ("Moving something down", "Moving something up"),
    "near": ("Moving something towards the camera", "Moving something away from the camera"),
    "meet": (
        "Moving something and something closer to each other",
        "Moving something and something away from each other",
    ),
    "cover": ("Covering something with something", "Uncovering something"),
    "pan": (
        "Turning the camera right while filming something",
        "Turning the camera left while filming something",
    ),
    "zoom": (
        "Approaching something with your camera",
        "Moving away from something with your camera",
    ),
}
STILL = "Holding something"
_MOTION_OF = {
    name: (motion, 1 - 2 * i) for motion, pair in PAIRS.items() for i, name in enumerate(pair)
} | {STILL: ("hold", 0)}
CLASSES = tuple(sorted(_MOTION_OF))

_ZOOM = 3.0  # growth a cycle
_EDGE = 0.24  # how far outside the picture, in picture widths or heights, a thing is wholly out of sight
_PERIOD = (
    1 + 2 * _EDGE
)  # of a pan, in picture widths: the thing has left on one side before it comes back on the other
_MARGIN = 12  # pixels around the picture that shake may show
_SPRITE = 96  # pixels of a thing's own picture


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that determines a clip's pictures."""

    template: str  # class name
    seed: int  # of background, things, places, shake and noise
    phase: float  # cycles at the start
    speed: float  # cycles a second
    size: tuple[int, int]  # width, height in pixels
    noise: float  # standard deviation of the sensor noise, in gray levels
    shake: float  # amplitude of the camera's shake, in pixels


@dataclass(frozen=True, slots=True)
class _Pose:
    """A thing in a picture: center in widths and heights, size as a share of the height, opacity."""

    thing: int
    x: float
    y: float
    size: float
    opacity: float


def reversed_class(template: str) -> str:
    """The class that a clip of this one shows when it is played backwards.

    Raises:
        KeyError: not one of `CLASSES`.
    """
    motion, direction = _MOTION_OF[template]
    return template if direction == 0 else PAIRS[motion][(direction + 1) // 2]


def draw_scene(rng: np.random.Generator, template: str) -> Scene:
    """A scene at random; the draws are the same whatever the class."""
    height = int(rng.integers(64, 89)) * 2
    return Scene(
        template=template,
        seed=int(rng.integers(2**31)),
        phase=float(rng.random()),
        speed=float(rng.uniform(0.35, 0.6)),
        size=(int(height * rng.uniform(1.2, 1.45)) // 2 * 2, height),
        noise=float(rng.uniform(1.0, 6.0)),
        shake=float(rng.uniform(0.0, 2.5)),
    )


def render(scene: Scene, times_s: NDArray[np.float64]) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a scene at the given times, `(height, width, 3)` uint8 RGB each."""
    width, height = scene.size
    rng = np.random.default_rng(scene.seed)
    world = _World(rng, scene.size)
    motion, direction = _MOTION_OF[scene.template]
    waves = rng.uniform(0.5, 2.5, (2, 3)), rng.uniform(0, 2 * math.pi, (2, 3))
    field = rng.standard_normal((height + 64, width + 64, 3), np.float32) * scene.noise
    camera: tuple[float, float] | None = None
    canvas = np.empty(0, np.float32)
    for t in times_s:
        phase = scene.phase + direction * scene.speed * float(t)
        pan, zoom = phase if motion == "pan" else 0.0, phase if motion == "zoom" else 0.0
        if camera != (pan, zoom):
            camera, canvas = (pan, zoom), world.background(pan, zoom)
        dx, dy = scene.shake * np.sin(2 * math.pi * waves[0] * float(t) + waves[1]).mean(axis=1)
        center = (_MARGIN + (width - 1) / 2 + dx, _MARGIN + (height - 1) / 2 + dy)
        picture = cv2.getRectSubPix(canvas, (width, height), center)
        for pose in world.poses(motion, phase):
            world.draw(picture, pose, float(dx), float(dy))
        top, left = rng.integers(0, 64, 2)
        picture += field[top : top + height, left : left + width]
        yield np.clip(picture + 0.5, 0, 255).astype(np.uint8)


class _World:
    """The look of one scene: a background that repeats, things, and where they are."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.size = size
        self.tiles = [_texture(rng, 256) for _ in range(3)]
        self.offsets = rng.uniform(0, 256, (3, 2))
        self.octave = float(rng.uniform(0, 3))
        self.things = [_thing(rng) for _ in range(2)]
        self.home = rng.uniform(0.3, 0.7, 2)
        self.angle = float(rng.uniform(0, 2 * math.pi))
        self.share = float(rng.uniform(0.28, 0.42))
        self.tint = rng.uniform(60, 190, 3).astype(np.float32)
        self.contrast = float(rng.uniform(15, 45))

    def background(self, pan: float, zoom: float) -> NDArray[np.float32]:
        """The canvas behind the things, with a margin for shake; `pan` and `zoom` in cycles."""
        width, height = self.size[0] + 2 * _MARGIN, self.size[1] + 2 * _MARGIN
        total = np.zeros((height, width), np.float32)
        for i, tile in enumerate(self.tiles):
            octave = (self.octave + zoom + i) % 3
            weight = math.sin(math.pi * octave / 3) ** 2 / 1.5
            scale = _ZOOM ** (octave - 1.5)
            x0 = self.offsets[i, 0] + (pan * _PERIOD * self.size[0] - width / 2) / scale
            y0 = self.offsets[i, 1] - height / 2 / scale
            matrix = np.array([[1 / scale, 0, x0 % 256], [0, 1 / scale, y0 % 256]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            layer = cv2.warpAffine(
                tile, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_WRAP
            )
            total += np.float32(weight) * layer
        return np.asarray(self.tint + self.contrast * total[..., None], np.float32)

    def poses(self, motion: str, phase: float) -> list[_Pose]:
        """Which things are where at a phase of a motion's cycle, the hindmost first."""
        u = phase % 1.0
        x, y = float(self.home[0]), float(self.home[1])
        towards = math.cos(self.angle), math.sin(self.angle)
        fade = min(1.0, min(u, 1 - u) / 0.12)
        size = self.share
        if motion == "across":
            return [_Pose(0, -_EDGE + u * (1 + 2 * _EDGE), y, size, 1.0)]
        if motion == "fall":
            return [_Pose(0, x, -_EDGE + u * (1 + 2 * _EDGE), size, 1.0)]
        if motion == "near":
            return [_Pose(0, x, y, size * _ZOOM ** (u - 0.4), fade)]
        if motion == "meet":
            half = 0.12 + 0.45 * (1 - u)
            return [
                _Pose(i, x + sign * half * towards[0], y + sign * half * towards[1], size, fade)
                for i, sign in enumerate((1, -1))
            ]
        if motion == "cover":
            away = 1.1 * max(0.0, 0.8 - u) / 0.8
            return [
                _Pose(0, x, y, size, fade),
                _Pose(1, x + away * towards[0], y + away * towards[1], size * 1.7, fade),
            ]
        if motion == "pan":
            return [_Pose(0, (x - phase * _PERIOD + _EDGE) % _PERIOD - _EDGE, y, size, 1.0)]
        if motion == "zoom":
            scale = _ZOOM ** (u - 0.4)
            return [_Pose(0, 0.5 + (x - 0.5) * scale, 0.5 + (y - 0.5) * scale, size * scale, fade)]
        return [_Pose(0, x, y, size, 1.0)]

    def draw(self, picture: NDArray[np.float32], pose: _Pose, dx: float, dy: float) -> None:
        """Lay one thing over the picture, shaken by `(dx, dy)` pixels against the camera."""
        width, height = self.size
        scale = pose.size * height / _SPRITE
        cx, cy, reach = pose.x * width - dx, pose.y * height - dy, pose.size * height / 2 + 1
        left, right = max(0, math.floor(cx - reach)), min(width, math.ceil(cx + reach))
        top, bottom = max(0, math.floor(cy - reach)), min(height, math.ceil(cy + reach))
        if left >= right or top >= bottom or pose.opacity <= 0:
            return
        matrix = np.array(
            [
                [scale, 0, cx - left - scale * _SPRITE / 2],
                [0, scale, cy - top - scale * _SPRITE / 2],
            ]
        )
        patch = cv2.warpAffine(
            self.things[pose.thing], matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR
        )
        mask = patch[..., 3:] * np.float32(pose.opacity)
        region = picture[top:bottom, left:right]
        region += mask * (patch[..., :3] - region)


def _texture(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """A texture that repeats after `size` pixels, mean 0, deviation 1."""
    axis = np.arange(size, dtype=np.float32) * np.float32(2 * math.pi / size)
    cycles, turns = (
        rng.integers(-5, 6, (2, 10)).astype(np.float32),
        rng.uniform(0, 2 * math.pi, 10).astype(np.float32),
    )
    across, down = np.outer(axis, cycles[0]) + turns, np.outer(cycles[1], axis)
    total = (np.sin(across) @ np.cos(down) + np.cos(across) @ np.sin(down)).T  # of sin(a + b)
    total = np.sign(total) * np.sqrt(np.abs(total))
    return np.asarray((total - total.mean()) / (total.std() + 1e-6), np.float32)


def _thing(rng: np.random.Generator) -> NDArray[np.float32]:
    """A textured shape with a rim: `(_SPRITE, _SPRITE, 4)`, RGB in gray levels and opacity 0..1."""
    axis = (np.arange(_SPRITE) + 0.5) / _SPRITE * 2 - 1
    x, y = np.meshgrid(axis, axis)
    turn = rng.uniform(0, 2 * math.pi)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) + turn
    sides = int(rng.integers(3, 8))  # 7 stands for a disc
    edge = (
        0.9
        if sides == 7
        else 0.9
        * np.cos(math.pi / sides)
        / np.cos((angle % (2 * math.pi / sides)) - math.pi / sides)
    )
    inside = np.clip((edge - radius) * _SPRITE / 4, 0, 1)
    stripes = np.sin((x * math.cos(turn) + y * math.sin(turn)) * rng.uniform(2, 9)) > 0
    inks = rng.uniform(0, 255, (3, 3))
    color = np.where(stripes[..., None], inks[0], inks[1])
    color = np.where((edge - radius)[..., None] < 0.14, inks[2], color)
    return np.dstack([color, inside]).astype(np.float32)
