"""Phases of live cameras: their segments fall due evenly over a segment's time, not all at once.

The time grid of a live camera may begin at any moment. Cameras that fall due together would wait
for each other while the engines are idle in between. A camera therefore begins each run (after it
connects, or after a gap) at the phase farthest from all others, and then moves slowly towards equal
distances: cameras come and go, and their clocks drift against this machine's.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

__all__ = ["MAX_SLEW", "Phases"]

MAX_SLEW = 0.004
"""Largest change of a phase per segment, as a share of its duration.

A grid that moves so plays its camera at most 0.4 % faster or slower; over a window of 4 s that is
16 ms, half the period of a camera with 30 frames per second."""

# Distances between phases may differ by this share of the even distance.
_TOLERANCE = 0.1


class Phases:
    """Phases of the running grids, in seconds within `segment_s`; threads may share it.

    Args:
        segment_s: seconds between two segments of a camera.
    """

    def __init__(self, segment_s: float) -> None:
        self._segment_s = segment_s
        self._lock = threading.Lock()
        # None: the camera is known, and its grid does not run.
        self._phases: dict[Hashable, float | None] = {}

    def join(self, camera: Hashable) -> None:
        """Reserve room for a camera that has yet to connect."""
        with self._lock:
            self._phases.setdefault(camera, None)

    def stop(self, camera: Hashable) -> None:
        """Note that the grid of a camera has stopped; it stays known."""
        with self._lock:
            if camera in self._phases:
                self._phases[camera] = None

    def leave(self, camera: Hashable) -> None:
        """Forget a camera."""
        with self._lock:
            self._phases.pop(camera, None)

    def start(self, camera: Hashable, now: float) -> float:
        """Return the monotonic seconds, from `now` on, at which the camera's grid shall begin.

        Args:
            camera: a camera whose grid does not run.
            now: monotonic seconds; at most one segment before the result.
        """
        with self._lock:
            self._phases[camera] = None
            running = self._running()
            # With all known cameras running, equal distances result without any slew.
            phase = now % self._segment_s
            if running:
                phase = self._farthest(running, now)
            self._phases[camera] = phase

            wait_s = (phase - now) % self._segment_s
            # Rounding may turn "now" into "one segment later".
            return now if self._segment_s - wait_s < 1e-6 else now + wait_s

    def slew(self, camera: Hashable, origin: float) -> float:
        """Note where a running grid lies; return the seconds by which it shall move.

        Args:
            camera: a camera that has started.
            origin: monotonic seconds of any segment start of its grid.

        Returns:
            At most `MAX_SLEW` of a segment, in either direction; call it once per segment.
        """
        with self._lock:
            if camera not in self._phases:
                return 0.0
            self._phases[camera] = origin % self._segment_s

            # Small errors stay: every move costs a little exactness.
            error = self._error(camera)
            if abs(error) <= _TOLERANCE * self._segment_s / len(self._running()):
                return 0.0
            bound = MAX_SLEW * self._segment_s
            return max(-bound, min(bound, error))

    def _running(self) -> list[float]:
        return sorted(phase for phase in self._phases.values() if phase is not None)

    def _farthest(self, running: list[float], now: float) -> float:
        """Return the phase of the even raster that is farthest from all that run.

        The raster has one place per known camera. Of equally good places the next one wins.
        """
        places = len(self._phases)
        candidates = []
        for number in range(places):
            phase = (running[0] + number * self._segment_s / places) % self._segment_s
            distance = min(self._distance(phase, other) for other in running)
            wait_s = (phase - now) % self._segment_s
            candidates.append((-round(distance, 6), wait_s, phase))
        return min(candidates)[2]

    def _distance(self, one: float, other: float) -> float:
        apart = abs(one - other) % self._segment_s
        return min(apart, self._segment_s - apart)

    def _error(self, camera: Hashable) -> float:
        """Return the move of a camera to the nearest even arrangement (least squares)."""
        running = {key: phase for key, phase in self._phases.items() if phase is not None}
        ordered = sorted(running, key=lambda key: running[key])
        step = self._segment_s / len(ordered)

        # The order stays, so the least movement puts every camera at its rank.
        offsets = {key: running[key] - rank * step for rank, key in enumerate(ordered)}
        mean = sum(offsets.values()) / len(offsets)
        return mean - offsets[camera]
