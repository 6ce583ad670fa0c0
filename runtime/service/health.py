"""Health of the process, as the health endpoint, the metrics and the watchdog read it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Health", "HealthStatus"]


@dataclass(frozen=True)
class HealthStatus:
    """Health at one moment; truthy when every stage makes progress."""

    ok: bool
    ready: bool
    """True once the models are loaded and the sources are being read."""
    stages: dict[str, float]
    """Seconds since each stage last made progress."""
    late: tuple[str, ...]
    """Stages without progress for too long."""
    troubles: dict[str, str]
    """Failures that do not stop the rest, by part: a sink that cannot write, a failed camera."""
    uptime_s: float

    def __bool__(self) -> bool:
        return self.ok

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class Health:
    """Collect heartbeats of stages and failures of parts.

    Args:
        patience_s: seconds that a stage may be without progress.
        clock: returns monotonic seconds.
    """

    def __init__(
        self, patience_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.patience_s = patience_s
        self._clock = clock
        self._start = self._awake_since = clock()
        self._ready = False
        self._lock = threading.Lock()
        self._beats: dict[str, Callable[[], float]] = {}
        self._troubles: dict[str, Callable[[], str]] = {}

    def watch(self, stage: str, last_beat: Callable[[], float]) -> None:
        """Watch a stage that must make progress.

        Args:
            stage: name of the stage.
            last_beat: returns when it last made progress, in monotonic seconds.
        """
        with self._lock:
            self._beats[stage] = last_beat

    def watch_trouble(self, part: str, trouble: Callable[[], str]) -> None:
        """Watch a part that may fail while the rest goes on.

        Args:
            part: name of the part.
            trouble: returns what is wrong with it; empty if nothing is.
        """
        with self._lock:
            self._troubles[part] = trouble

    def forget(self, part: str) -> None:
        """Stop watching a stage or part that has ended in order."""
        with self._lock:
            self._beats.pop(part, None)
            self._troubles.pop(part, None)

    def resume(self) -> None:
        """Note that the whole process was stopped until now: no stage could make progress.

        Ctrl-Z, SIGSTOP or a frozen container stop it. Each stage has its full patience again.
        """
        self._awake_since = self._clock()

    def set_ready(self, ready: bool = True) -> None:
        """Note that recognition has started, or that the run is ending."""
        self._ready = ready

    def status(self) -> HealthStatus:
        """Return the present state of all stages and parts."""
        now = self._clock()
        with self._lock:
            beats, watched = dict(self._beats), dict(self._troubles)

        # Outside the lock, because the callbacks take locks of their own.
        ages_s = {}
        for stage, beat in beats.items():
            ages_s[stage] = round(max(0.0, now - max(beat(), self._awake_since)), 3)
        late = tuple(stage for stage, age_s in ages_s.items() if age_s > self.patience_s)
        troubles = {}
        for part, trouble in watched.items():
            text = trouble()
            if text:
                troubles[part] = text

        return HealthStatus(
            ok=not late,
            ready=self._ready,
            stages=ages_s,
            late=late,
            troubles=troubles,
            uptime_s=round(now - self._start, 1),
        )
