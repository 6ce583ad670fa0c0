"""Which annotated actions count as reported in time."""

from __future__ import annotations

import pytest

from gasmcast.runtime.alarms.hits import Action, count_hits
from gasmcast.runtime.records import Event


def event(time_s, label="a", camera="v"):
    return Event(camera, time_s, 0.0, "start", label, 0, 0.9, time_s - 3, time_s, 0.0, 0.0, 1)


@pytest.mark.parametrize(
    ("reports", "hits", "delay"),
    [
        ([14.0], 1, 4.0),  # within the action
        ([17.9], 1, 7.9),  # less than two seconds after its end
        ([18.1], 0, None),
        ([9.9], 0, None),  # before it began
        ([12.0, 13.0], 1, 2.0),  # one action is hit once
    ],
)
def test_hits_are_reports_up_to_two_seconds_after_the_action(reports, hits, delay):
    result = count_hits([event(t) for t in reports], [Action("v", 10.0, 16.0, "a")], 4.0)
    assert result.hits == hits
    assert result.mean_delay_s == pytest.approx(delay)
    assert count_hits([event(14.0, "b")], [Action("v", 10.0, 16.0, "a")], 4.0).hits == 0
