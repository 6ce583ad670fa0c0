"""Annotated actions that a run reported in time, and how soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gasmcast.runtime.records import Event

__all__ = ["Action", "Hits", "count_hits"]

WITHIN_S = 2.0
"""Seconds after an action in which its report still counts as a hit."""


@dataclass(frozen=True)
class Action:
    """Annotated action of a labeled video."""

    camera: str
    """Name of the video."""
    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class Hits:
    """Annotated actions that were reported in time."""

    actions: int
    hits: int
    mean_delay_s: float | None
    """Mean time from the annotated start to the report of the event."""

    @property
    def rate(self) -> float | None:
        """Share of actions that were reported; None without actions."""
        return self.hits / self.actions if self.actions else None


def count_hits(events: Sequence[Event], actions: Sequence[Action], window_s: float) -> Hits:
    """Match reported events with annotated actions; each event counts for one action.

    An action is hit when an event of its label is reported between its start and two seconds after
    its end. A window is decided when it is full, so an action shorter than a window has that long.
    """
    starts = [event for event in events if event.phase == "start"]
    delays: list[float] = []
    for action in sorted(actions, key=lambda a: (a.camera, a.start_s)):
        deadline_s = max(action.end_s, action.start_s + window_s) + WITHIN_S
        for event in starts:
            same = event.camera == action.camera and event.label == action.label
            if same and action.start_s <= event.time_s <= deadline_s + 1e-6:
                starts.remove(event)
                delays.append(event.time_s - action.start_s)
                break
    mean = sum(delays) / len(delays) if delays else None
    return Hits(len(actions), len(delays), mean)
