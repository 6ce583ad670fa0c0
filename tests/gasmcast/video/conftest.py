"""A fake video made of timestamps, for the tests of the reader and of clips."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.video import reader


class Odd:
    """Video with any timestamps (ms; None: missing), stated rate and stated number of frames.

    Its frames have the gray level of their number.
    """

    time_base = Fraction(1, 1000)

    def __init__(self, stamps_ms: list[float | None], fps: float, count: float) -> None:
        self.stamps_ms, self.fps, self.count = stamps_ms, fps, count
        self.retrieved = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let the reader read this video, whatever its path."""
        rate = Fraction(self.fps).limit_denominator(100_000) if self.fps else None
        stream = SimpleNamespace(
            average_rate=rate,
            guessed_rate=None,
            duration=self.count / self.fps * 1000 if self.fps and self.count > 0 else None,
            time_base=self.time_base,
            sample_aspect_ratio=None,
            frames=max(0, int(self.count)),
        )

        @contextmanager
        def open_file(path, threads=None):
            yield SimpleNamespace(duration=None, start_time=None), stream

        patch.setattr(reader, "open_file", open_file)
        patch.setattr(reader, "RgbConverter", lambda: self._draw)
        patch.setattr(reader, "decoded_frames", lambda _c, _s, _n, count: self._read(count))

    def _read(self, count) -> Iterator[SimpleNamespace]:
        for number, stamp in enumerate(self.stamps_ms):
            ticks = None if stamp is None else stamp
            count.frames += 1
            count.packets += 1
            yield SimpleNamespace(
                pts=ticks,
                dts=ticks,
                time_base=self.time_base,
                number=number,
            )

    def _draw(self, frame: SimpleNamespace, aspect: None) -> np.ndarray:
        self.retrieved += 1
        return np.full((48, 64, 3), frame.number, np.uint8)


@pytest.fixture(scope="session")
def odd_video() -> type[Odd]:
    """Return the class of fake videos."""
    return Odd


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., bytes]:
    """Return a function that runs ffmpeg with arguments and returns its standard output."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed (make debian)")

    def run(*arguments: object) -> bytes:
        command = [program, "-v", "error", "-y", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout

    return run
