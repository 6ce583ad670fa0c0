"""Synthetic scenes whose classes differ only in the direction of time.

A scene runs through a cycle: its phase is `phase + direction * speed * t`, and the frame is a
function of the phase. The first phase is uniform and nothing else depends on the class, so a class
is stationary in time and its reversed twin is the same process with the other `direction`. No
single frame and no unordered set of frames distinguishes them, only the order of the frames. When a
cycle restarts, the object is out of sight. A data set and method of this project.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.data.synthetic.world import MARGIN, World

__all__ = ["CLASSES", "Scene", "draw_scene", "render"]

# Motion -> class that runs through the cycle forward, and its twin that runs backward (official
# SSv2 names).
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


def _motions() -> dict[str, tuple[str, int]]:
    """Return motion and direction (1, -1, or 0 for none) of each class."""
    motions = {STILL: ("hold", 0)}
    for motion, (forward, backward) in PAIRS.items():
        motions[forward] = (motion, 1)
        motions[backward] = (motion, -1)
    return motions


_MOTION_OF = _motions()
CLASSES = tuple(sorted(_MOTION_OF))
"""Names of the 15 classes."""

_SPARE = 64
"""Pixels by which the noise field is larger than a frame, for a random offset per frame."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that determines the frames of a clip."""

    template: str
    """Class name."""
    seed: int
    """Seed of background, objects, places, shake and noise."""
    phase: float
    """Phase at the start, in cycles."""
    speed: float
    """Cycles per second."""
    size: tuple[int, int]
    """Width and height in pixels."""
    noise: float
    """Standard deviation of the sensor noise, in gray levels."""
    shake: float
    """Amplitude of the camera shake, in pixels."""


def reversed_class(template: str) -> str:
    """Return the class that a clip of this one shows when it is played backward.

    Raises:
        KeyError: the class is not one of `CLASSES`.
    """
    motion, direction = _MOTION_OF[template]
    if direction == 0:
        return template
    forward, backward = PAIRS[motion]
    return backward if direction == 1 else forward


def draw_scene(rng: np.random.Generator, template: str) -> Scene:
    """Draw a scene at random; the draws do not depend on the class."""
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
    """Yield the frames of a scene at the given times, `(height, width, 3)` uint8 RGB each."""
    width, height = scene.size
    motion, direction = _MOTION_OF[scene.template]

    # The order of the draws is part of the result: the same seed must give the same frames.
    rng = np.random.default_rng(scene.seed)
    world = World(rng, scene.size)
    shake_hz, shake_phase = rng.uniform(0.5, 2.5, (2, 3)), rng.uniform(0, 2 * math.pi, (2, 3))
    field = rng.standard_normal((height + _SPARE, width + _SPARE, 3), np.float32) * scene.noise

    camera: tuple[float, float] | None = None
    canvas = np.empty(0, np.float32)
    for time_s in map(float, times_s):
        phase = scene.phase + direction * scene.speed * time_s

        # The background is the costly part, and most motions leave the camera where it is.
        pan = phase if motion == "pan" else 0.0
        zoom = phase if motion == "zoom" else 0.0
        if camera != (pan, zoom):
            camera, canvas = (pan, zoom), world.background(pan, zoom)

        # Three sines per axis look like a hand-held camera.
        shake = np.sin(2 * math.pi * shake_hz * time_s + shake_phase).mean(axis=1)
        dx, dy = scene.shake * shake
        center = (MARGIN + (width - 1) / 2 + dx, MARGIN + (height - 1) / 2 + dy)
        frame = cv2.getRectSubPix(canvas, (width, height), center)
        for pose in world.poses(motion, phase):
            world.draw(frame, pose, float(dx), float(dy))

        # One field at random offsets is noise enough, and far cheaper than fresh noise.
        top, left = rng.integers(0, _SPARE, 2)
        frame += field[top : top + height, left : left + width]
        yield np.clip(frame + 0.5, 0, 255).astype(np.uint8)
