"""Law: a replay of stored logits gives the events of the runtime's own code."""

from __future__ import annotations

import numpy as np
import pytest

from gasmcast.labels import Labels
from gasmcast.runtime.alarms.idle_replay import decide, events_of
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Event
from tests.runtime.alarms.made_up_idle import idle_logits


def live_events(idle, config, no_action):
    decider = Decider("door", LabelView(Labels(idle.head.labels), config), config, 1.3, no_action)
    events = []
    for rows in idle.runs():
        for row in rows:
            end_s = float(idle.time_s[row])
            window = (round(end_s - idle.head.window_s, 6), end_s)
            records = decider.update(window, idle.logits[row], 0.0, {})
            events += [record for record in records if isinstance(record, Event)]
        events += decider.flush(0.0)
    return events


@pytest.mark.parametrize("no_action", [None, 1.5])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"on": 0.8, "off": 0.48},
        {"on": 0.6, "off": 0.3, "min_s": 1.0},
        {"on": 0.5, "off": 0.3, "label_on": {"b": 0.9}, "refractory_s": 4.0},
        {"on": 0.95, "off": 0.2, "smooth_s": 0.0},
    ],
)
def test_a_replay_gives_the_events_of_live(settings, no_action):
    rng = np.random.default_rng(0)
    # Slow waves, so that events of all lengths occur.
    waves = np.cumsum(rng.normal(0, 0.7, (600, 3)), axis=0)
    idle = idle_logits(waves - waves.mean(0), runs=3)
    config = LiveConfig(**settings)

    decided = decide(idle, config, temperature=1.3, no_action=no_action, floor=0.18)
    replayed = events_of(decided, config)
    expected = live_events(idle, config, no_action)
    assert replayed == expected
    assert sum(event.phase == "start" for event in expected) > 3
