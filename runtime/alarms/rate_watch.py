"""Live check of the false alarm rate: count the events of a camera, and warn when they exceed it.

A count is compared with the expected one by an exact Poisson test, in days of 24 observed hours.
"""

from __future__ import annotations

from gasmcast.runtime.alarms.poisson_bounds import exceedance
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Decision, Event
from gasmcast.runtime.streaming_model import Model

__all__ = ["RateWatch", "expected_per_day", "rate_sentence"]

# Probability, at each look, of so many events although the rate holds. Every event is a look: of
# days at one event a day 0.3 % warn, of days at 24 1.1 % (simulated).
_SIGNIFICANT = 1e-3
# A warning needs so many events, or so much of the day that was watched.
_LEAST_EVENTS = 3
_LEAST_S = 3600.0
_DAY_S = 86_400.0


class RateWatch:
    """Events of one camera against the rate that its thresholds hold.

    Args:
        camera: name of the camera.
        config: its settings; with others than the thresholds were chosen for, nothing is expected.
        model: its thresholds state the rate.
    """

    def __init__(self, camera: str, config: LiveConfig, model: Model) -> None:
        self.expected_per_day = expected_per_day(model, config)
        self.events = 0
        """Events since the start."""
        self.events_today = 0
        """Events in the present day of observed time."""

        self._camera = camera
        self._hop_s = config.hop * model.spec.segment_s
        self._observed_s = 0.0
        self._last_s: float | None = None
        self._warned = False

    def add(self, record: Decision | Event) -> str:
        """Count a record; return a sentence when the day's events exceed the expected number."""
        if isinstance(record, Decision):
            self._observe(record.time_s)
            return ""
        if record.phase != "start":
            return ""

        self.events += 1
        self.events_today += 1
        if self._warned or self.expected_per_day is None:
            return ""

        # Right after the start a single event exceeds almost nothing: somebody tries the camera.
        if self.events_today < _LEAST_EVENTS and self._observed_s < _LEAST_S:
            return ""

        # The rate is a bound for any time, so the part of the day that has passed is enough.
        expected = self.expected_per_day * self._observed_s / _DAY_S
        if exceedance(self.events_today, expected) >= _SIGNIFICANT:
            return ""
        self._warned = True
        hours = self._observed_s / 3600
        return (
            f"{self._camera} had {self.events_today} events in {hours:.1f} h, and at most "
            f"{expected:.2g} were expected: the scene or the camera may have changed. Record idle "
            "hours again with `gasmcast background`, or set true_per_day to its real actions a day."
        )

    def _observe(self, time_s: float) -> None:
        """Add the time since the last decision; a gap counts one hop."""
        step_s = self._hop_s if self._last_s is None else time_s - self._last_s
        # The governor may double the hop; a longer or backward step is a gap.
        self._observed_s += step_s if 0 < step_s <= 4 * self._hop_s else self._hop_s
        self._last_s = time_s
        if self._observed_s >= _DAY_S:
            self._observed_s -= _DAY_S
            self.events_today, self._warned = 0, False


def expected_per_day(model: Model, config: LiveConfig) -> float | None:
    """Return the bound of events a day that holds with these settings; None if none does."""
    alarms = model.alarms
    if alarms is None:
        return None

    # Thresholds hold a rate only together with everything else that shapes an event.
    chosen = (alarms.on, alarms.off, alarms.min_s, alarms.label_on)
    taken = (config.on, config.off, config.min_s, config.label_on)
    shape = (alarms.hop_s, alarms.smooth_s, alarms.refractory_s)
    here = (config.hop * model.spec.segment_s, config.smooth_s, config.refractory_s)
    replaced = config.temperature is not None or config.no_action is not None
    if chosen != taken or shape != here or replaced or config.groups or config.only:
        return None
    return alarms.upper_per_day + config.true_per_day


def rate_sentence(model: Model, config: LiveConfig) -> str:
    """Return what is known about the false alarms of this run, in one line."""
    if model.alarms is None:
        return "false alarms: rate unknown; `gasmcast background` and `threshold` measure it"
    if expected_per_day(model, config) is None:
        return "false alarms: rate unknown, because the settings differ from the bundle's"
    alarms = model.alarms
    return (
        f"false alarms: at most {alarms.upper_per_day:.2g} a day and camera "
        f"({alarms.events} in {alarms.idle_hours:.1f} idle hours, 95 % bound)"
    )
