"""Live check of the rate: counts, and a warning that is neither missing nor everywhere."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.manifest import AlarmThresholds
from gasmcast.runtime.alarms.rate_watch import RateWatch, expected_per_day, rate_sentence
from gasmcast.runtime.live_settings import LiveConfig, with_defaults
from gasmcast.runtime.records import Decision, Event
from gasmcast.runtime.streaming_model import Model
from gasmcast.spec import ClipSpec

ALARMS = AlarmThresholds(
    on=0.8,
    off=0.48,
    min_s=0.5,
    hop_s=0.5,
    smooth_s=0.5,
    refractory_s=1.0,
    at_most_per_day=1.0,
    events=0,
    idle_hours=72.0,
    cameras=1,
    per_day=0.0,
    upper_per_day=0.9986,
)


def model(alarms=ALARMS):
    port = SimpleNamespace()
    return Model(port, port, ClipSpec(), SimpleNamespace(names=("a",)), alarms=alarms)


def run(watch, hours, events_at_h):
    """Feed a decision every half second and an event at each hour given; return the warnings."""
    warnings = []
    wanted = sorted(events_at_h)
    for i in range(int(hours * 7200)):
        time_s = 0.5 * i
        watch.add(Decision("door", time_s, 0, (time_s - 4, time_s), "a", 0, 1, "a", 1, ()))
        while wanted and time_s >= wanted[0] * 3600:
            wanted.pop(0)
            start = Event("door", time_s, 0, "start", "a", 0, 1, time_s, time_s, 0, 0, 1)
            warnings.append(watch.add(start))
    return [text for text in warnings if text]


def test_the_expected_rate_is_silent_and_a_higher_one_warns_once():
    config = with_defaults(LiveConfig(), model().event_defaults)
    quiet = RateWatch("door", config, model())
    assert run(quiet, 20, [5, 15]) == []
    assert (quiet.events, quiet.events_today) == (2, 2)

    loud = RateWatch("door", config, model())
    warnings = run(loud, 12, np.linspace(1, 11, 20))
    assert len(warnings) == 1
    assert "events in" in warnings[0]


@pytest.mark.parametrize(
    ("events_at_s", "warns"),
    [
        ([10], False),  # one event in a first try
        ([10, 40], False),
        ([10, 40, 70], True),  # three at one a day are no chance
        ([1800, 3900], True),  # two within about an hour of watching
        ([3700], False),
    ],
)
def test_a_first_try_is_no_drift(events_at_s, warns):
    config = with_defaults(LiveConfig(), model().event_defaults)
    warnings = run(RateWatch("door", config, model()), 1.2, [s / 3600 for s in events_at_s])
    assert bool(warnings) == warns


def test_the_least_hour_is_one_of_the_present_day():
    # A new day of observed time begins after 24 hours, with a count and a clock of its own.
    config = with_defaults(LiveConfig(), model().event_defaults)
    assert run(RateWatch("door", config, model()), 24.2, [24.01]) == []


def test_a_day_at_the_stated_rate_seldom_warns():
    # The watched time is set instead of fed, so that days pass quickly.
    config = with_defaults(LiveConfig(), model().event_defaults)
    rng = np.random.default_rng(0)
    days, warned = 400, 0
    for _ in range(days):
        watch = RateWatch("door", config, model())
        times = np.sort(rng.uniform(0, 86_000, rng.poisson(1.0)))
        for time_s in times:
            watch._observed_s = time_s
            start = Event("door", time_s, 0, "start", "a", 0, 1, time_s, time_s, 0, 0, 1)
            warned += bool(watch.add(start))
    assert warned / days < 0.01


def test_real_actions_that_are_stated_do_not_warn():
    config = LiveConfig(true_per_day=60, **model().event_defaults)
    assert run(RateWatch("door", config, model()), 12, np.linspace(1, 11, 20)) == []


@pytest.mark.parametrize(
    "settings",
    [{"on": 0.5}, {"hop": 2}, {"smooth_s": 0.0}, {"no_action": 3.0}, {"refractory_s": 0.0}],
)
def test_other_settings_promise_nothing(settings):
    config = with_defaults(LiveConfig(**settings), model().event_defaults)
    assert expected_per_day(model(), config) is None
    assert "unknown" in rate_sentence(model(), config)


def test_thresholds_of_the_bundle_are_defaults_and_the_users_win():
    defaults = model().event_defaults
    assert with_defaults(LiveConfig(), defaults).on == 0.8
    assert with_defaults(LiveConfig(on=0.4), defaults).on == 0.4
    assert with_defaults(LiveConfig(on=0.4), defaults).off == 0.4
    assert with_defaults(LiveConfig(), {}) == LiveConfig()
    assert "at most 1 a day" in rate_sentence(model(), with_defaults(LiveConfig(), defaults))
