"""Whether the process does its work: what the health endpoint, the metrics and the watchdog read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Health", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """Truthy when all is well."""

    ok: bool
    ready: bool
    """Models are loaded and the sources are being read."""
    stages: dict[str, float]
    """Seconds since each stage last showed progress."""
    late: tuple[str, ...]
    """Stages that showed none for too long."""
    troubles: dict[str, str]
    """What is broken but does not stop the rest: a sink that cannot write, a camera that failed."""
    uptime_s: float

    def __bool__(self) -> bool:
        return self.ok

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class Health:
    """Takes heartbeats of stages and gives a verdict.

    Args:
        patience_s: how long a stage may show no progress.
        clock: monotonic seconds.
    """

    def __init__(
        self, patience_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.patience_s = patience_s
        self._clock = clock
        self._start = clock()
        self._ready = False
        self._lock = threading.Lock()
        self._beats: dict[str, Callable[[], float]] = {}
        self._troubles: dict[str, Callable[[], str]] = {}

    def watch(self, stage: str, last_beat: Callable[[], float]) -> None:
        """Take in a stage that must make progress: when it last did, in monotonic seconds."""
        with self._lock:
            self._beats[stage] = last_beat

    def watch_trouble(self, part: str, trouble: Callable[[], str]) -> None:
        """Take in a part that may fail while the rest goes on: what troubles it, empty for nothing."""
        with self._lock:
            self._troubles[part] = trouble

    def forget(self, stage: str) -> None:
        """A stage has ended in order."""
        with self._lock:
            self._beats.pop(stage, None)
            self._troubles.pop(stage, None)

    def set_ready(self, ready: bool = True) -> None:
        """The work has begun, or is being wound down."""
        self._ready = ready

    def verdict(self) -> Verdict:
        """How things stand now."""
        now = self._clock()
        with self._lock:
            beats, troubles = dict(self._beats), dict(self._troubles)
        ages = {stage: round(max(0.0, now - beat()), 3) for stage, beat in beats.items()}
        late = tuple(stage for stage, age in ages.items() if age > self.patience_s)
        told = {stage: text for stage, trouble in troubles.items() if (text := trouble())}
        return Verdict(not late, self._ready, ages, late, told, round(now - self._start, 1))
