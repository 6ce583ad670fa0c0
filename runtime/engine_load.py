"""Load of the engines: the share of the time in which the encoder or the head computes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["EngineLoad"]


class EngineLoad:
    """Seconds that each stage has computed, including the work in progress.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The stages report while the maintenance thread reads.
        self._lock = threading.Lock()
        self._busy_s: dict[str, float] = {}
        self._working_since: dict[str, float] = {}
        self._counted_at = clock()

    @contextlib.contextmanager
    def working(self, stage: str) -> Iterator[None]:
        """Count the time inside the block as work of `stage`."""
        with self._lock:
            self._working_since[stage] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._count(stage, self._clock())
                self._working_since.pop(stage, None)

    def share(self) -> float:
        """Return the share of the time since the last call in which the busier stage computed."""
        now = self._clock()
        with self._lock:
            # A run that takes longer than the interval counts in each interval that it spans.
            for stage in self._working_since:
                self._count(stage, now)

            busy_s = max(self._busy_s.values(), default=0.0)
            interval_s = now - self._counted_at
            self._busy_s.clear()
            self._counted_at = now
        return busy_s / interval_s if interval_s > 0 else 0.0

    def _count(self, stage: str, now: float) -> None:
        """Count the work of a stage up to `now`; the caller holds the lock."""
        # A hung thread that was replaced may end its work after its successor began.
        since = self._working_since.get(stage, now)
        self._busy_s[stage] = self._busy_s.get(stage, 0.0) + max(0.0, now - since)
        self._working_since[stage] = now
