"""Replay of stored logits through the runtime's own decision and event code.

Decisions depend on the model alone and are made once; events depend on the thresholds and are made
again for each choice of them. Decisions that can change nothing are skipped, so a choice costs
time only where an action may be going on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gasmcast.labels import Labels
from gasmcast.progress import Progress, silent
from gasmcast.runtime.alarms.idle_store import IdleLogits
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.camera.events import EventTracker
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import NO_ACTION, Decision, Event

__all__ = ["DecidedLogits", "decide", "events_of"]


@dataclass
class _Stretch:
    """Decisions of one uninterrupted stretch of a camera; rows are windows."""

    camera: str
    time_s: NDArray[np.float64]
    quiet: NDArray[np.bool_]
    """True for windows without an action."""
    best: NDArray[np.intp]
    """Position of the best label in the reported names."""
    best_p: NDArray[np.float64]
    shares: dict[int, Mapping[str, float]] = field(default_factory=dict)
    """Probabilities of the reported labels in the rows where an event may go on."""


@dataclass(frozen=True)
class DecidedLogits:
    """Decisions of all stretches, from which events follow for any thresholds."""

    names: tuple[str, ...]
    window_s: float
    floor: float
    """Smallest `off` that can be replayed."""
    stretches: list[_Stretch]


class _Shares(EventTracker):
    """Tracker that only keeps the probabilities it is given, to take them from a `Decider`."""

    given: Mapping[str, float] = {}

    def update(
        self,
        decision: Decision,  # noqa: ARG002
        shares: Mapping[str, float],
    ) -> list[Event]:
        """Keep the probabilities."""
        self.given = shares
        return []


def decide(
    idle: IdleLogits,
    config: LiveConfig,
    *,
    temperature: float,
    no_action: float | None,
    floor: float,
    progress: Progress = silent,
) -> DecidedLogits:
    """Make the decisions of stored logits.

    Args:
        idle: the logits.
        config: settings of decisions; its thresholds of events are not used.
        temperature: temperature of the precision.
        no_action: no-action threshold of the precision.
        floor: smallest `off` that will be replayed.
        progress: called with the windows that are decided.
    """
    view = LabelView(Labels(idle.head.labels), config)
    position = {name: i for i, name in enumerate(view.names)}
    done, stretches = 0, []
    decider: Decider | None = None
    for rows in idle.runs():
        camera = idle.head.cameras[int(idle.camera[rows[0]])]
        count = len(rows)
        stretch = _Stretch(
            camera,
            idle.time_s[rows],
            np.zeros(count, bool),
            np.zeros(count, np.intp),
            np.zeros(count),
        )

        # Smoothing restarts at every gap, so each stretch may have a decider of its own.
        decider = Decider(camera, view, config, temperature, no_action)
        shares = _Shares(config)
        decider._events = shares  # noqa: SLF001 - the shares are what the tracker would get
        for i, row in enumerate(rows):
            end_s = float(idle.time_s[row])
            window = (end_s - idle.head.window_s, end_s)
            decision = decider.update(window, idle.logits[row], 0.0, {})[0]
            assert isinstance(decision, Decision)
            stretch.quiet[i] = decision.label == NO_ACTION
            stretch.best[i] = position[decision.best]
            stretch.best_p[i] = decision.best_p
            if not stretch.quiet[i] and decision.best_p >= floor:
                stretch.shares[i] = shares.given
            if i % 2000 == 0:
                progress("deciding stored logits", done + i, len(idle))
        stretches.append(stretch)
        done += count
    progress("deciding stored logits", len(idle), len(idle))
    return DecidedLogits(view.names, idle.head.window_s, floor, stretches)


def events_of(decided: DecidedLogits, config: LiveConfig) -> list[Event]:
    """Return the events that `live` would report with these thresholds, in order by camera.

    Args:
        decided: decisions that were made with the same `smooth_s`, `groups` and `only`.
        config: settings of events.
    """
    on = np.array([config.on_of(name) for name in decided.names])  # (names,)
    assert min(config.off, float(on.min())) >= decided.floor, "probabilities below were not kept"

    events: list[Event] = []
    tracker, camera, last_s = EventTracker(config), "", float("inf")
    for stretch in decided.stretches:
        # Times that go back are those of a new run, which knows nothing of the one before.
        if stretch.camera != camera or stretch.time_s[0] <= last_s:
            tracker = EventTracker(config)
        camera, last_s = stretch.camera, float(stretch.time_s[-1])
        events += _events(stretch, tracker, on, decided)
    return events


def _events(
    stretch: _Stretch, tracker: EventTracker, on: NDArray[np.float64], decided: DecidedLogits
) -> list[Event]:
    """Return the events of a stretch; windows between two possible events are skipped."""
    strong = np.flatnonzero(~stretch.quiet & (stretch.best_p >= on[stretch.best]))
    events: list[Event] = []
    i, count = 0, len(stretch.time_s)
    while i < count:
        if not tracker.active:
            after = int(np.searchsorted(strong, i))
            if after == len(strong):
                break
            # The window before the first strong one is needed: the onset lies between them.
            i = max(i, int(strong[after]) - 1)
        events += tracker.update(_decision(stretch, i, decided), stretch.shares.get(i, {}))
        i += 1
    return events + tracker.flush(0.0)


def _decision(stretch: _Stretch, i: int, decided: DecidedLogits) -> Decision:
    end_s, best = float(stretch.time_s[i]), int(stretch.best[i])
    name, best_p = decided.names[best], float(stretch.best_p[i])
    return Decision(
        camera=stretch.camera,
        time_s=end_s,
        wall_s=0.0,
        window=(round(end_s - decided.window_s, 6), end_s),
        label=NO_ACTION if stretch.quiet[i] else name,
        label_id=-1 if stretch.quiet[i] else best,
        p=best_p,
        best=name,
        best_p=best_p,
        top=(),
    )
