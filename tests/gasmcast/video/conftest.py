"""A fake capture made of time stamps, for the tests of the reader and of clips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


class Odd:
    """Fake `cv2.VideoCapture` with any stamps, frame rate and frame count."""

    def __init__(self, stamps_ms: list[float], fps: float, count: float) -> None:
        self.stamps_ms, self.fps, self.count, self.at = stamps_ms, fps, count, -1
        self.retrieved = 0

    def grab(self) -> bool:
        self.at += 1
        return self.at < len(self.stamps_ms)

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self.retrieved += 1
        return True, np.full((48, 64, 3), self.at, np.uint8)

    def get(self, name: int) -> float:
        known = {cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FRAME_COUNT: self.count}
        return (
            known[name] if name in known else self.stamps_ms[min(self.at, len(self.stamps_ms) - 1)]
        )

    def release(self) -> None:
        pass


@pytest.fixture(scope="session")
def odd_capture() -> type[Odd]:
    """Return the class of fake captures that tests return from `reader._open`."""
    return Odd
