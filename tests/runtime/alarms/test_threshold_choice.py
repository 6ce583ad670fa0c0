"""Thresholds for a number of false events a day, on planted idle hours."""

from __future__ import annotations

import numpy as np
import pytest

from gasmcast.errors import GateError
from gasmcast.runtime.alarms.hits import Action
from gasmcast.runtime.alarms.idle_replay import decide
from gasmcast.runtime.alarms.threshold_choice import FLOOR, choose
from gasmcast.runtime.live_settings import LiveConfig
from tests.runtime.alarms.made_up_idle import idle_logits

CONFIG = LiveConfig(smooth_s=0.0)
HOUR = 120  # windows, at a hop of 30 s


def decided(logits, **made):
    idle = idle_logits(logits, hop_s=30.0, **made)
    return idle, decide(idle, CONFIG, temperature=1.0, no_action=None, floor=FLOOR)


def idle_hours(hours, blips=0, height=6.0, label=1, classes=3):
    """Return idle windows in which `blips` windows look like an action of `label`."""
    logits = np.zeros((hours * HOUR, classes), np.float32)
    for i in range(blips):
        logits[10 + i * len(logits) // max(blips, 1), label] = height
    return logits


def test_three_idle_days_without_an_event_hold_one_a_day():
    idle, replay = decided(idle_hours(72))
    choice = choose(replay, idle.hours(), 1.0, CONFIG)
    assert choice.chosen.events == 0
    assert choice.chosen.upper_per_day == pytest.approx(2.9957 / 3, abs=1e-4)


def test_fewer_hours_prove_less_and_say_so():
    idle, replay = decided(idle_hours(12))
    with pytest.raises(GateError, match=r"prove at most 5\.99 false events a day"):
        choose(replay, idle.hours(), 1.0, CONFIG)
    assert choose(replay, idle.hours(), 6.0, CONFIG).chosen.events == 0


def test_a_label_that_raises_false_events_is_held_back_alone():
    # A label with an `on` of its own counts like one more event: 114 hours prove one a day.
    idle, replay = decided(
        idle_hours(115, blips=40, height=3.9, classes=8), labels=tuple("abcdefgh")
    )
    # Actions of another label are as weak as the false events.
    clip = np.zeros((20, 8), np.float32)
    clip[5:15, 2] = 3.3
    shown, labeled = decided(clip, labels=tuple("abcdefgh"))
    actions = [Action("door", float(shown.time_s[5]), float(shown.time_s[14]), "c")]
    choice = choose(replay, idle.hours(), 1.0, CONFIG, labeled=labeled, actions=actions)
    assert choice.chosen.hit_rate == 1.0
    assert choice.chosen.events == 0
    assert choice.chosen.upper_per_day == pytest.approx(4.7439 * 24 / 115, abs=1e-4)
    one_for_all = [row for row in choice.rows if not row.label_on and row.upper_per_day <= 1]
    assert all(row.on > 0.7 or row.min_s > 0 for row in one_for_all)


def test_no_thresholds_hold_what_is_certain_all_the_time():
    logits = idle_hours(72)
    for i in range(20, len(logits) - 10, 400):
        logits[i : i + 5, 1] = 60.0
    idle, replay = decided(logits)
    with pytest.raises(GateError, match="No thresholds hold"):
        choose(replay, idle.hours(), 1.0, CONFIG)
