"""Load of the engines: the share of the time in which the encoder or the head computes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["EngineLoad"]


class EngineLoad:
    """Seconds in which a stage has computed, including the work in progress.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The stages report while the maintenance thread reads.
        self._lock = threading.Lock()
        self._working: set[str] = set()
        # Seconds in which any stage computed, and since when at least one does.
        self._any_s = 0.0
        self._any_since = self._counted_at = clock()

    @contextlib.contextmanager
    def working(self, stage: str) -> Iterator[None]:
        """Count the time inside the block as work of `stage`."""
        with self._lock:
            # While another stage computes, the time is already counted.
            if not self._working:
                self._any_since = self._clock()
            self._working.add(stage)
        try:
            yield
        finally:
            with self._lock:
                self._count(self._clock())
                self._working.discard(stage)

    def share(self) -> float:
        """Return the share of the time since the last call in which any stage computed.

        Stages that compute at the same time share a processor, so their times do not add up.
        """
        now = self._clock()
        with self._lock:
            # A run that takes longer than the interval counts in each interval that it spans.
            self._count(now)

            busy_s, interval_s = self._any_s, now - self._counted_at
            self._any_s, self._counted_at = 0.0, now
        return busy_s / interval_s if interval_s > 0 else 0.0

    def _count(self, now: float) -> None:
        """Count the work up to `now`; the caller holds the lock."""
        if self._working:
            self._any_s += max(0.0, now - self._any_since)
            self._any_since = now
