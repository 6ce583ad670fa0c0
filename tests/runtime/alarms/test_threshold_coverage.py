"""The 95 % bound of chosen thresholds holds on hours that they were not chosen on (simulated)."""

from __future__ import annotations

import numpy as np
import pytest

from gasmcast.runtime.alarms import threshold_choice
from gasmcast.runtime.alarms.hits import Action
from gasmcast.runtime.alarms.idle_replay import decide
from gasmcast.runtime.alarms.threshold_choice import FLOOR, choose
from gasmcast.runtime.live_settings import LiveConfig
from tests.runtime.alarms.made_up_idle import idle_logits

CONFIG = LiveConfig(smooth_s=0.0)
LABELS = tuple("abcdefgh")
HOP_S = 120.0
HOURS = 12
PER_DAY = 100.0
"""Windows a day that look like an action, with a probability of 0.3 or more."""
WANTED = 24.0
RECORDINGS = 50

# Their probabilities are even over these steps: each step loses the same share of the events, so
# that many choices are near the bound.
STEPS = np.array(threshold_choice.ON_GRID[:-1])


def made_up(rng: np.random.Generator, false_labels: int) -> np.ndarray:
    count = int(HOURS * 3600 / HOP_S)
    logits = np.zeros((count, len(LABELS)), np.float32)
    for i in rng.integers(0, count, rng.poisson(PER_DAY * HOURS / 24)):
        p = np.interp(rng.uniform(0, len(STEPS) - 1), np.arange(len(STEPS)), STEPS)
        logits[i, rng.integers(false_labels)] = np.log((len(LABELS) - 1) * p / (1 - p))
    return logits


def decided(logits: np.ndarray):
    idle = idle_logits(logits, hop_s=HOP_S, labels=LABELS)
    return idle, decide(idle, CONFIG, temperature=1.0, no_action=None, floor=FLOOR)


def true_per_day(row, false_labels: int) -> float:
    """Return the rate of false events that the simulation has with these thresholds."""
    on = [row.label_on.get(name, row.on) for name in LABELS[:false_labels]]
    below = np.interp(on, STEPS, np.arange(len(STEPS)) / (len(STEPS) - 1))
    return PER_DAY * float((1 - below).mean())


@pytest.mark.parametrize(("by_label", "false_labels"), [(False, 6), (True, 2), (True, 6)])
def test_the_bound_holds_on_other_hours(monkeypatch, by_label: bool, false_labels: int) -> None:
    # A false event is one window long, so longer minimum durations would end them all.
    monkeypatch.setattr(threshold_choice, "MIN_S_GRID", (0.0,))

    # Weak actions of a label without false events make the choice raise labels on their own.
    labeled, actions = None, []
    if by_label:
        clip = np.zeros((40, len(LABELS)), np.float32)
        clip[2::4, -1] = 2.0
        shown, labeled = decided(clip)
        times = [float(time_s) for time_s in shown.time_s[2::4]]
        actions = [Action("door", time_s, time_s + 1, LABELS[-1]) for time_s in times]

    rng = np.random.default_rng(0)
    held = raised = 0
    for _ in range(RECORDINGS):
        idle, replay = decided(made_up(rng, false_labels))
        choice = choose(replay, idle.hours(), WANTED, CONFIG, labeled=labeled, actions=actions)
        held += true_per_day(choice.chosen, false_labels) <= choice.chosen.upper_per_day
        raised += bool(choice.chosen.label_on)
    assert held >= 0.9 * RECORDINGS
    assert (raised > 0.9 * RECORDINGS) == by_label
