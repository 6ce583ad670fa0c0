"""Events from the decisions of one camera: the start, continuation and end of an action.

An event starts at probability `on` and ends below `off` (hysteresis). Its start is reported after a
minimum duration, and a refractory time follows its end. All times are the source's own, so a
recorded run gives the same events again.

A window shows an action some time after its start, when enough of the window holds it.
The onset is estimated from the two windows around the first detection: the action was not yet
dominant in the last window without it, and it was in the first window with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import NO_ACTION, Decision, Event

__all__ = ["EventTracker"]


@dataclass(frozen=True)
class _OpenEvent:
    """Event that is going on, or a candidate for one."""

    label: str
    label_id: int
    onset_s: float
    detected_s: float
    peak: float
    number: int = 0
    delay_s: float = 0.0


class EventTracker:
    """Events of one camera, at most one at a time.

    Args:
        config: its `on`, `label_on`, `off`, `min_s` and `refractory_s` are used.
    """

    def __init__(self, config: LiveConfig) -> None:
        self._config = config
        self._candidate: _OpenEvent | None = None
        self._open: _OpenEvent | None = None
        self._quiet_until_s: dict[str, float] = {}
        self._count = 0
        self._last: Decision | None = None

    @property
    def active(self) -> bool:
        """True while an event is going on or may be about to start."""
        return self._open is not None or self._candidate is not None

    def update(self, decision: Decision, shares: Mapping[str, float]) -> list[Event]:
        """Return the events that a decision starts, continues or ends.

        Args:
            decision: the newest one.
            shares: probability of every label or group that is reported.
        """
        before, self._last = self._last, decision
        on = self._config.on_of(decision.label)
        strong = decision.label != NO_ACTION and decision.best_p >= on

        events = []
        if self._open is not None:
            # The open label counts by its own share, even if another one is better but weak.
            p = shares.get(self._open.label, 0.0)
            replaced = strong and decision.label != self._open.label
            if decision.label == NO_ACTION or p < self._config.off_of(self._open.label) or replaced:
                events.append(self._end(decision))
            else:
                self._open = replace(self._open, peak=max(self._open.peak, p))
                events.append(_event("update", decision, self._open))

        # The decision that ends one event may start the next.
        if self._open is None:
            self._candidate = self._extend_candidate(decision, before) if strong else None
            started = self._start(decision)
            if started is not None:
                events.append(started)
        return events

    def flush(self, wall_s: float) -> list[Event]:
        """End the open event at the last decision, at a gap or the end of the source."""
        self._candidate = None
        last, self._last = self._last, None
        if self._open is None or last is None:
            return []
        return [self._end(replace(last, wall_s=wall_s))]

    def _extend_candidate(self, decision: Decision, before: Decision | None) -> _OpenEvent | None:
        """Return the candidate with this decision; None in the refractory time of its label.

        Args:
            decision: the newest one, which shows an action.
            before: the one before it; None at the start of the source and after a gap.
        """
        label = decision.label
        if decision.time_s < self._quiet_until_s.get(label, float("-inf")):
            return None

        if self._candidate is not None and self._candidate.label == label:
            return replace(self._candidate, peak=max(self._candidate.peak, decision.best_p))
        return _OpenEvent(
            label=label,
            label_id=decision.label_id,
            onset_s=_onset_s(decision, before),
            detected_s=decision.time_s,
            peak=decision.best_p,
        )

    def _start(self, decision: Decision) -> Event | None:
        """Open the candidate if it has lasted long enough."""
        if self._candidate is None:
            return None
        lasted_s = decision.time_s - self._candidate.detected_s
        if lasted_s < self._config.min_s:
            return None

        self._count += 1
        self._open = replace(self._candidate, number=self._count, delay_s=lasted_s)
        self._candidate = None
        return _event("start", decision, self._open)

    def _end(self, decision: Decision) -> Event:
        assert self._open is not None

        # `_extend_candidate` ignores the label until the refractory time is over.
        ended, self._open = self._open, None
        self._quiet_until_s[ended.label] = decision.time_s + self._config.refractory_s
        return _event("end", decision, ended)


def _onset_s(first: Decision, before: Decision | None) -> float:
    """Estimate when an action began, in seconds on the axis of `time_s`.

    Args:
        first: decision of the first window that shows the action.
        before: decision of the window before it; None if there is none in this run.
    """
    start_s, end_s = first.window
    if before is None:
        return start_s

    # An action that started before both windows would fill the earlier one too, and show there.
    middle_s = (before.window[0] + end_s) / 2
    return round(max(start_s, middle_s), 6)


def _event(
    phase: Literal["start", "update", "end"], decision: Decision, state: _OpenEvent
) -> Event:
    return Event(
        camera=decision.camera,
        time_s=decision.time_s,
        wall_s=decision.wall_s,
        phase=phase,
        label=state.label,
        label_id=state.label_id,
        p=state.peak,
        onset_s=state.onset_s,
        detected_s=state.detected_s,
        duration_s=decision.time_s - state.detected_s,
        report_delay_s=state.delay_s,
        number=state.number,
    )
