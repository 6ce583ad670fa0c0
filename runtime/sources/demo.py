"""A built-in moving scene: a camera for tests, and for users without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.frames import Frame

__all__ = ["DemoSource"]

_ACTION_S = 3.0  # every second action is a still scene


class _Motion(NamedTuple):
    """Change of position and size over an action, in shares of the picture."""

    dx: float
    dy: float
    grow: float


_MOTIONS = (
    _Motion(1.0, 0.0, 0.0),  # right
    _Motion(-1.0, 0.0, 0.0),  # left
    _Motion(0.0, 1.0, 0.0),  # down
    _Motion(0.0, -1.0, 0.0),  # up
    _Motion(0.0, 0.0, 1.0),  # towards the camera
    _Motion(0.0, 0.0, -1.0),  # away from the camera
)


class DemoSource:
    """A textured block that moves on a textured background, in real time.

    Args:
        name: name of the camera.
        seed: determines textures and the order of actions; the same pictures for the same seed.
        fps: pictures per second.
        size: `(width, height)` in pixels.
        seconds: length; None: endless.
        clock: monotonic seconds.
        sleep: pauses the thread.
    """

    live = True

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        fps: float = 30.0,
        size: tuple[int, int] = (320, 240),
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self.reconnects = name, seconds is None
        self._seed, self._fps, self._size, self._seconds = seed, fps, size, seconds
        self._clock, self._sleep = clock, sleep

    def frames(self) -> Iterator[Frame]:
        """Yield a picture every `1 / fps` s; a slow reader misses pictures, as with a camera."""
        rng = np.random.default_rng(self._seed)
        width, height = self._size

        # Dark background and bright block, so that the motion is obvious.
        ground = _texture(rng, width, height, level=90)
        block = _texture(rng, width, width, level=220)
        order = rng.permutation(len(_MOTIONS))

        start, number = self._clock(), 0
        while self._seconds is None or number < self._seconds * self._fps:
            stamp_s = number / self._fps
            early_s = start + stamp_s - self._clock()
            if early_s > 0:
                self._sleep(early_s)
            image = _draw(ground, block, order, stamp_s)
            yield Frame(stamp_s=stamp_s, arrival=self._clock(), image=image)
            # A slow reader skips pictures instead of falling behind.
            number = max(number + 1, int((self._clock() - start) * self._fps))


def _draw(
    ground: NDArray[np.uint8], block: NDArray[np.uint8], order: NDArray[np.int64], time_s: float
) -> NDArray[np.uint8]:
    """Return the scene at a time: `(H, W, 3)` RGB."""
    number, progress = divmod(time_s / _ACTION_S, 1.0)
    moves = int(number) % 2 == 1
    motion = _MOTIONS[order[int(number) // 2 % len(order)]]
    offset = (progress - 0.5 if moves else -0.5) * 0.6  # -0.3 to 0.3 over an action

    # The block covers a quarter of the height, and up to 40 % when it is near.
    height, width = ground.shape[:2]
    nearness = offset + 0.3 if motion.grow > 0 else 0.3 - offset
    side = max(8, int(height * (0.25 + 0.25 * nearness * abs(motion.grow))))
    left = int(np.clip(width * (0.5 + offset * motion.dx) - side / 2, 0, width - side))
    top = int(np.clip(height * (0.5 + offset * motion.dy) - side / 2, 0, height - side))

    picture = ground.copy()
    picture[top : top + side, left : left + side] = cv2.resize(
        block, (side, side), interpolation=cv2.INTER_AREA
    )
    return picture


def _texture(rng: np.random.Generator, width: int, height: int, *, level: int) -> NDArray[np.uint8]:
    """Return soft colored noise around a brightness, `(height, width, 3)`."""
    # Few coarse values, resized smoothly: texture without noise.
    coarse = rng.integers(max(0, level - 60), min(256, level + 36), (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
