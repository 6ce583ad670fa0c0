"""Scores of events against examples that were worked by hand."""

from __future__ import annotations

import pytest

from gasmcast.evaluation.event_scores import (
    Detection,
    average_precision,
    detections_of,
    event_figures,
    mean_ap,
    overlap,
    point_map,
)
from gasmcast.runtime.alarms.hits import Action
from gasmcast.runtime.records import Event


def detection(start_s, end_s, score, label="a", camera="v"):
    return Detection(camera, start_s, end_s, label, score, end_s)


# Three actions of class a and one of class b. By hand, at temporal IoU 0.5, class a in order of
# score: [0, 10] is [0, 10] exactly (right), [30, 32] nothing (wrong), [21, 29] in [20, 30] is
# 8 / 10 (right), [0, 9] is taken (wrong), [40, 44] in [40, 50] is 4 / 10 (wrong).
# Precision at the two hits: 1 and 2/3; 3 actions: AP = (1 + 2/3) / 3 = 5/9.
# Class b: [5, 9] of [5, 9] is right but second after [60, 61]: AP = 1/2.
ACTIONS = [
    Action("v", 0, 10, "a"),
    Action("v", 20, 30, "a"),
    Action("v", 40, 50, "a"),
    Action("w", 5, 9, "b"),
]
DETECTIONS = [
    detection(0, 10, 0.9),
    detection(30, 32, 0.8),
    detection(21, 29, 0.7),
    detection(0, 9, 0.6),
    detection(40, 44, 0.5),
    detection(60, 61, 0.9, "b", "w"),
    detection(5, 9, 0.4, "b", "w"),
]


def test_overlap():
    assert overlap(detection(21, 29, 1), ACTIONS[1]) == pytest.approx(0.8)
    assert overlap(detection(30, 32, 1), ACTIONS[1]) == 0


def test_figures_at_one_iou():
    figures = event_figures(DETECTIONS, ACTIONS, 0.5)
    assert (figures.events, figures.actions, figures.matched) == (7, 4, 3)
    assert figures.precision == pytest.approx(3 / 7)
    assert figures.recall == pytest.approx(3 / 4)
    assert figures.f1 == pytest.approx(6 / 11)
    # A lower IoU accepts [40, 44] as well.
    assert event_figures(DETECTIONS, ACTIONS, 0.4).matched == 4


def test_mean_ap_of_thumos_and_activitynet():
    thumos = mean_ap(DETECTIONS, ACTIONS, 0.5, interpolated=False)
    assert thumos == pytest.approx((5 / 9 + 1 / 2) / 2)
    # At IoU 0.4 the third hit of class a is the fifth detection: AP = (1 + 2/3 + 3/5) / 3.
    assert mean_ap(DETECTIONS, ACTIONS, 0.4, interpolated=False) == pytest.approx(
        ((1 + 2 / 3 + 3 / 5) / 3 + 1 / 2) / 2
    )


def test_interpolation_takes_the_best_precision_from_there_on():
    hits = [False, True, True]
    # Precision at the hits is 1/2 and 2/3; interpolated, both are 2/3.
    assert average_precision(hits, 2, interpolated=False) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert average_precision(hits, 2, interpolated=True) == pytest.approx(2 / 3)
    assert average_precision([], 2, interpolated=True) == 0
    assert average_precision([True], 1, interpolated=True) == 1


def test_point_map_counts_distance_in_seconds():
    # Class a: starts 0, 30, 21, 0, 40 of true 0, 20, 40. Within 1 s the hits are ranks 1, 3, 5.
    a = (1 + 2 / 3 + 3 / 5) / 3
    assert point_map(DETECTIONS, ACTIONS, 1.0) == pytest.approx((a + 1 / 2) / 2)
    # Within 10 s the second detection (30) takes the action at 20.
    a = (1 + 2 / 2 + 3 / 5) / 3
    assert point_map(DETECTIONS, ACTIONS, 10.0) == pytest.approx((a + 1 / 2) / 2)


def test_an_event_is_a_segment_from_its_onset():
    common = {"camera": "v", "wall_s": 0.0, "label": "a", "label_id": 0, "number": 1}
    times = {"onset_s": 3.0, "detected_s": 5.0, "report_delay_s": 1.0}
    start = Event(time_s=6.0, phase="start", p=0.6, duration_s=1.0, **common, **times)
    end = Event(time_s=9.0, phase="end", p=0.8, duration_s=4.0, **common, **times)
    assert detections_of([start, end], 0.5) == [Detection("v", 3.0, 7.0, "a", 0.8, 6.0)]
