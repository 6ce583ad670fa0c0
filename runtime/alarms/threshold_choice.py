"""Choice of event thresholds for a stated number of false events per day and camera."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gasmcast.errors import GateError
from gasmcast.manifest import AlarmThresholds
from gasmcast.progress import Progress, silent
from gasmcast.runtime.alarms.hits import Action, Hits, count_hits
from gasmcast.runtime.alarms.idle_replay import DecidedLogits, events_of
from gasmcast.runtime.alarms.poisson_bounds import hours_to_prove, upper_bound
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Event

__all__ = ["FLOOR", "ThresholdChoice", "TradeOff", "choose"]

ON_GRID = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)
MIN_S_GRID = (0.0, 0.5, 1.0, 2.0)
OFF_SHARE = 0.6
"""`off` as a share of the smallest `on`."""
FLOOR = OFF_SHARE * ON_GRID[0]
"""Smallest `off` of the grid."""


@dataclass(frozen=True)
class TradeOff:
    """Thresholds with the events of the idle hours and the hits on labeled actions."""

    on: float
    off: float
    min_s: float
    label_on: dict[str, float]
    events: int
    per_day: float
    upper_per_day: float
    """95 % upper bound; each label with an `on` of its own counts like one further event."""
    hit_rate: float | None
    mean_delay_s: float | None


@dataclass(frozen=True)
class ThresholdChoice:
    """Result of a choice; always truthy: a choice that proves nothing is an error."""

    chosen: TradeOff
    rows: tuple[TradeOff, ...]
    """All thresholds that were tried."""
    at_most_per_day: float
    idle_hours: float
    cameras: int
    events_by_camera: dict[str, int]
    """Events of the idle hours with the chosen thresholds."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def thresholds(self, config: LiveConfig, hop_s: float) -> AlarmThresholds:
        """Return the manifest's record."""
        row = self.chosen
        return AlarmThresholds(
            **asdict(row),
            hop_s=hop_s,
            smooth_s=config.smooth_s,
            refractory_s=config.refractory_s,
            at_most_per_day=self.at_most_per_day,
            idle_hours=self.idle_hours,
            cameras=self.cameras,
        )


def choose(
    idle: DecidedLogits,
    hours: dict[str, float],
    at_most_per_day: float,
    config: LiveConfig,
    *,
    labeled: DecidedLogits | None = None,
    actions: Sequence[Action] = (),
    progress: Progress = silent,
) -> ThresholdChoice:
    """Choose thresholds whose 95 % upper bound of false events per day is at most the given one.

    For each minimum duration two kinds are tried: one `on` for all labels, and `on` raised for
    the labels alone that raise events. Among those that hold the rate the one with the most hits
    wins, then the least delay; without labeled actions the one that reports soonest and with the
    lowest `on`.

    Args:
        idle: decisions of the idle hours.
        hours: idle hours by camera.
        at_most_per_day: false events per day and camera.
        config: settings whose thresholds are replaced.
        labeled: decisions of labeled videos.
        actions: their annotated actions.
        progress: called with the choices that were tried.

    Raises:
        GateError: the hours are too few to prove the rate, or no thresholds hold it.
    """
    total = sum(hours.values())
    # Even without any event so few hours prove nothing: said before minutes of replays.
    if total < hours_to_prove(at_most_per_day) * (1 - 1e-9):
        proved = 24 * upper_bound(0) / total if total else float("inf")
        raise GateError(
            f"{total:.2f} idle hours without any event prove at most {proved:.3g} false events a "
            f"day (95 %), not {at_most_per_day:g}.",
            f"Record {hours_to_prove(at_most_per_day):.1f} hours of all cameras together with "
            "`gasmcast background`, or ask for a higher --at-most.",
        )

    trial = _Trial(idle, total, config, labeled, actions)
    rows: list[TradeOff] = []
    done, count = 0, len(MIN_S_GRID) * len(ON_GRID)
    for min_s in MIN_S_GRID:
        for on in ON_GRID:
            rows.append(trial.row(on, min_s, {}))
            done += 1
            progress("replaying with other thresholds", done, count)
        rows += trial.by_label(min_s, at_most_per_day)

    holding = [row for row in rows if row.upper_per_day <= at_most_per_day]
    if not holding:
        least = min(row.upper_per_day for row in rows)
        raise GateError(
            f"No thresholds hold {at_most_per_day:g} false events a day: the least is "
            f"{least:.3g} (95 %).",
            "Record more idle hours, or train with more clips of what raises the events.",
        )

    chosen = min(holding, key=_rank)
    by_camera = Counter(event.camera for event in trial.starts(chosen))
    return ThresholdChoice(
        chosen=chosen,
        rows=tuple(rows),
        at_most_per_day=at_most_per_day,
        idle_hours=total,
        cameras=len(hours),
        events_by_camera={name: by_camera[name] for name in hours},
    )


class _Trial:
    """Thresholds tried on the same hours and actions.

    Args:
        idle: decisions of the idle hours.
        hours: hours of all cameras together.
        config: settings whose thresholds are replaced.
        labeled: decisions of labeled videos.
        actions: their annotated actions.
    """

    def __init__(
        self,
        idle: DecidedLogits,
        hours: float,
        config: LiveConfig,
        labeled: DecidedLogits | None,
        actions: Sequence[Action],
    ) -> None:
        self._idle, self._hours, self._config = idle, hours, config
        self._labeled, self._actions = labeled, actions
        self._counts: dict[tuple[float, float], Counter[str]] = {}
        """Events by label, for each minimum duration and each `on` of all labels."""

    def row(self, on: float, min_s: float, label_on: dict[str, float]) -> TradeOff:
        """Return what these thresholds do."""
        off = OFF_SHARE * on
        config = self._with(on, off, min_s, label_on)
        starts = [e for e in events_of(self._idle, config) if e.phase == "start"]
        events = len(starts)
        # `by_label` foretells rows from these counts.
        if not label_on:
            self._counts[min_s, on] = Counter(event.label for event in starts)

        hits = Hits(0, 0, None)
        if self._labeled is not None:
            reported = events_of(self._labeled, config)
            hits = count_hits(reported, self._actions, self._labeled.window_s)

        # A label is raised until its events are gone, so that they are gone proves nothing. What is
        # left of it may be as much as the time to its next event; the sum of these times has the
        # distribution of the time to that many further events.
        bound = upper_bound(events + len(label_on))
        days = self._hours / 24
        return TradeOff(
            on=on,
            off=off,
            min_s=min_s,
            label_on=label_on,
            events=events,
            per_day=events / days,
            upper_per_day=bound / days,
            hit_rate=hits.rate,
            mean_delay_s=hits.mean_delay_s,
        )

    def starts(self, row: TradeOff) -> list[Event]:
        """Return the events of the idle hours that start with the thresholds of a row."""
        config = self._with(row.on, row.off, row.min_s, row.label_on)
        return [event for event in events_of(self._idle, config) if event.phase == "start"]

    def by_label(self, min_s: float, at_most_per_day: float) -> list[TradeOff]:
        """Raise `on` of the labels with the most events until the rate holds, from two bases.

        The counts of the rows with one `on` for all labels foretell what a label does at its own
        `on`; a replay then shows what all of them do together. Each raised label takes one of the
        events that the rate allows (see `row`).
        """
        allowed = 0
        while upper_bound(allowed) <= at_most_per_day * self._hours / 24:
            allowed += 1
        allowed -= 1

        rows = []
        for base in (0.3, 0.5):
            label_on: dict[str, float] = {}
            names = self._counts[min_s, base]
            while allowed >= 0:
                counts = {
                    name: self._counts[min_s, label_on.get(name, base)][name] for name in names
                }
                raisable = [name for name in counts if label_on.get(name, base) < ON_GRID[-1]]
                if sum(counts.values()) + len(label_on) <= allowed or not raisable:
                    break
                # More raised labels than allowed events cannot hold the rate any more.
                if len(label_on) > allowed:
                    break
                # The loop ends: each step raises one label by one position of a finite grid.
                worst = max(raisable, key=lambda name: (counts[name], name))
                now = label_on.get(worst, base)
                label_on[worst] = next(value for value in ON_GRID if value > now)
            if label_on:
                rows.append(self.row(base, min_s, label_on))
        return rows

    def _with(self, on: float, off: float, min_s: float, label_on: dict[str, float]) -> LiveConfig:
        update = {"on": on, "off": off, "min_s": min_s, "label_on": label_on}
        return self._config.model_copy(update=update)


def _rank(row: TradeOff) -> tuple[float, ...]:
    """Return what sorts the best thresholds first."""
    hit_rate = -1.0 if row.hit_rate is None else row.hit_rate
    delay_s = float("inf") if row.mean_delay_s is None else row.mean_delay_s
    # Between equals, thresholds with a margin to the idle scenes are the safer ones.
    return (-hit_rate, delay_s, row.min_s, row.upper_per_day, row.on + sum(row.label_on.values()))
