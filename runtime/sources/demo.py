"""A built-in scene that moves: a camera for whoever has none, and for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.frames import Frame

__all__ = ["DemoSource"]

_ACT_S = 3.0  # how long an act of the play takes; every second act is a still scene
_ACTS = (
    (1.0, 0.0, 0.0),
    (-1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, -1.0, 0.0),
    (0.0, 0.0, 1.0),
    (0.0, 0.0, -1.0),
)
"""Right, left, down, up, towards the camera, away from it: change of x, y and size over an act, in shares of the picture."""


class DemoSource:
    """A textured block on a textured ground that is pushed about, in real time; the same pictures for the same seed.

    Args:
        name: of the camera.
        seed: of textures and the order of the acts.
        fps: pictures a second.
        size: `(width, height)` pixels.
        seconds: the length; None: without end.
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
        """One picture every `1 / fps` s; pictures for which it is too late are left out, as a camera would."""
        random = np.random.default_rng(self._seed)
        width, height = self._size
        ground, block = _texture(random, width, height, 90), _texture(random, width, width, 220)
        order = random.permutation(len(_ACTS))
        start, number = self._clock(), 0
        while self._seconds is None or number < self._seconds * self._fps:
            stamp = number / self._fps
            if (early := start + stamp - self._clock()) > 0:
                self._sleep(early)
            yield Frame(
                stamp_s=stamp, arrival=self._clock(), image=_draw(ground, block, order, stamp)
            )
            number = max(number + 1, int((self._clock() - start) * self._fps))


def _draw(
    ground: NDArray[np.uint8], block: NDArray[np.uint8], order: NDArray[np.int64], stamp: float
) -> NDArray[np.uint8]:
    """The scene at a time: `(H, W, 3)` RGB."""
    act, done = divmod(stamp / _ACT_S, 1.0)
    moves = int(act) % 2 == 1
    dx, dy, grow = _ACTS[order[int(act) // 2 % len(order)]]
    share = (done - 0.5 if moves else -0.5) * 0.6
    height, width = ground.shape[:2]
    side = max(
        8,
        int(
            height
            * (
                0.25
                + (
                    0.25 * (share + 0.3) * abs(grow)
                    if grow > 0
                    else 0.25 * (0.3 - share) * abs(grow)
                )
            )
        ),
    )
    left = int(np.clip(width * (0.5 + share * dx) - side / 2, 0, width - side))
    top = int(np.clip(height * (0.5 + share * dy) - side / 2, 0, height - side))
    picture = ground.copy()
    picture[top : top + side, left : left + side] = cv2.resize(
        block, (side, side), interpolation=cv2.INTER_AREA
    )
    return picture


def _texture(random: np.random.Generator, width: int, height: int, level: int) -> NDArray[np.uint8]:
    """Soft colored noise, `(height, width, 3)`."""
    coarse = random.integers(max(0, level - 60), min(256, level + 36), (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
