"""Events: when an action starts, goes on and has ended, from the decisions of one camera.

Hysteresis (it starts at `on`, ends below `off`), a minimum duration before the start is told, and a refractory time after
the end, all in the source's own time, so that a recorded run gives the same events again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import NO_ACTION, Decision, Event

__all__ = ["EventTracker"]


@dataclass(frozen=True)
class _Open:
    label: str
    label_id: int
    start_s: float
    peak: float
    number: int
    delay_s: float = 0.0


class EventTracker:
    """At most one event at a time for one camera."""

    def __init__(self, config: LiveConfig) -> None:
        self._config = config
        self._candidate: _Open | None = None
        self._open: _Open | None = None
        self._quiet_until: dict[str, float] = {}
        self._count = 0
        self._last: Decision | None = None

    @property
    def active(self) -> bool:
        """An event is going on, or may be about to start."""
        return self._open is not None or self._candidate is not None

    def update(self, decision: Decision, shares: Mapping[str, float]) -> list[Event]:
        """What a decision begins, prolongs or ends.

        Args:
            decision: the newest one.
            shares: probability of every label or group that may be told.
        """
        events = []
        now, self._last = decision.time_s, decision
        strong = decision.label != NO_ACTION and decision.p >= self._config.on
        if self._open is not None:
            p = shares.get(self._open.label, 0.0)
            another = strong and decision.label != self._open.label
            if decision.label == NO_ACTION or p < self._config.off or another:
                events.append(self._end(decision))
            else:
                self._open = replace(self._open, peak=max(self._open.peak, p))
                events.append(self._event("update", decision, self._open))
        if self._open is None:
            self._candidate = self._grown(decision) if strong else None
            if self._candidate is not None and now - self._candidate.start_s >= self._config.min_s:
                self._count += 1
                self._open = replace(
                    self._candidate, number=self._count, delay_s=now - self._candidate.start_s
                )
                self._candidate = None
                events.append(self._event("start", decision, self._open))
        return events

    def flush(self, wall_s: float) -> list[Event]:
        """A gap or the end: what is open ends at the last decision."""
        self._candidate = None
        if self._open is None or self._last is None:
            return []
        return [self._end(replace(self._last, wall_s=wall_s))]

    def _grown(self, decision: Decision) -> _Open | None:
        """The candidate with this decision; None while its label is in its refractory time."""
        label, now = decision.label, decision.time_s
        if now < self._quiet_until.get(label, float("-inf")):
            return None
        if self._candidate is not None and self._candidate.label == label:
            return replace(self._candidate, peak=max(self._candidate.peak, decision.p))
        return _Open(label, decision.label_id, now, decision.p, 0)

    def _end(self, decision: Decision) -> Event:
        assert self._open is not None
        ended, self._open = self._open, None
        self._quiet_until[ended.label] = decision.time_s + self._config.refractory_s
        return self._event("end", decision, ended)

    @staticmethod
    def _event(phase: str, decision: Decision, of: _Open) -> Event:
        return Event(
            camera=decision.camera,
            time_s=decision.time_s,
            wall_s=decision.wall_s,
            phase=phase,  # type: ignore[arg-type] # one of three literals above
            label=of.label,
            label_id=of.label_id,
            p=of.peak,
            start_s=of.start_s,
            duration_s=decision.time_s - of.start_s,
            onset_delay_s=of.delay_s,
            number=of.number,
        )
