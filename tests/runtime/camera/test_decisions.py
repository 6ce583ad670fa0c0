from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.errors import UsageError
from gasmcast.labels import Labels
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.live_settings import LiveConfig, load_live_config, with_settings
from gasmcast.runtime.records import NO_ACTION, Decision, Event

LABELS = Labels(["push left", "push right", "hold"])


def run(config: LiveConfig, rows, temperature=1.0, no_action=None, hop_s=0.5):
    decider = Decider("cam", LabelView(LABELS, config), config, temperature, no_action)
    out = []
    for i, row in enumerate(rows):
        t = 4.0 + i * hop_s
        out += decider.update((t - 4.0, t), np.array(row, np.float32), 100.0 + t, {"total": 1.0})
    return (
        [r for r in out if isinstance(r, Decision)],
        [r for r in out if isinstance(r, Event)],
        decider,
    )


def test_without_smoothing_a_decision_is_the_softmax_at_its_temperature():
    decisions, _, _ = run(LiveConfig(smooth_s=0), [[2.0, 0.0, 0.0]], temperature=2.0)
    p = np.exp([1.0, 0, 0]) / np.exp([1.0, 0, 0]).sum()
    assert decisions[0].label == "push left"
    assert decisions[0].label_id == 0
    assert decisions[0].p == pytest.approx(p[0])
    assert dict(decisions[0].top) == pytest.approx(dict(zip(LABELS.names, p, strict=True)))
    assert decisions[0].window == (0.0, 4.0)


def test_smoothing_is_an_average_with_the_time_constant():
    decisions, _, _ = run(LiveConfig(smooth_s=0.5), [[4.0, 0, 0], [0, 4.0, 0]])
    keep = np.exp(-1.0)
    mean = np.array([4 * keep, 4 * (1 - keep), 0])
    assert decisions[1].p == pytest.approx(np.exp(mean).max() / np.exp(mean).sum())


def test_below_the_threshold_there_is_no_action_and_no_event():
    decisions, events, _ = run(LiveConfig(smooth_s=0), [[3.0, 0, 0], [1.0, -9, -9]], no_action=2.0)
    assert [d.label for d in decisions] == ["push left", NO_ACTION]
    assert decisions[1].label_id == -1
    assert decisions[1].best == "push left"
    assert decisions[1].best_p > 0.9
    assert decisions[1].p == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert [e.phase for e in events] == ["start", "end"]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 1e-300])
def test_no_action_has_a_score_of_its_own_that_is_one_half_at_the_threshold(temperature):
    rows = [[logit, 0.0, 0.0] for logit in (2.0, 1.999, 1.0, -1.0, -1e30)]
    decisions, _, _ = run(LiveConfig(smooth_s=0), rows, temperature, no_action=2.0)
    assert [d.label for d in decisions] == ["push left", *[NO_ACTION] * 4]
    scores = [d.p for d in decisions[1:]]
    assert scores == sorted(scores), "the further below the threshold, the higher"
    assert scores[0] == pytest.approx(0.5, abs=0.01) or temperature < 0.1
    assert all(0.5 <= score <= 1.0 for score in scores)
    for decision in decisions:
        assert decision.best_p == pytest.approx(decision.top[0][1])
        assert np.isfinite(decision.p)
        assert (decision.p == decision.best_p) == (decision.label == decision.best) or (
            decision.label == NO_ACTION
        )


def test_the_score_of_what_is_filtered_out_is_its_probability():
    decisions, _, _ = run(LiveConfig(smooth_s=0, only=("hold",)), [[3.0, 1.0, 0.0]])
    shares = np.exp([3.0, 1.0, 0.0]) / np.exp([3.0, 1.0, 0.0]).sum()
    assert decisions[0].label == NO_ACTION
    assert decisions[0].p == pytest.approx(shares[:2].sum())
    assert (decisions[0].best, decisions[0].best_p) == ("hold", pytest.approx(shares[2]))


def test_groups_add_up_and_the_best_member_is_named():
    config = LiveConfig(smooth_s=0, groups={"push": ("push left", "push right")})
    decisions, _, _ = run(config, [[1.0, 1.2, 1.5]])
    assert decisions[0].label == "push"
    assert decisions[0].label_id == 1
    assert decisions[0].p == pytest.approx(
        (np.exp(1.0) + np.exp(1.2)) / np.exp([1.0, 1.2, 1.5]).sum()
    )


def test_what_is_filtered_out_is_no_action():
    decisions, events, _ = run(LiveConfig(smooth_s=0, only=("hold",)), [[9.0, 0, 0], [0, 0, 9.0]])
    assert [d.label for d in decisions] == [NO_ACTION, "hold"]
    assert [name for name, _ in decisions[0].top] == ["hold"]
    assert [e.label for e in events] == ["hold"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"groups": {"g": ["nope"]}}, "there is no label 'nope'"),
        ({"groups": {"g": ["hold"], "h": ["hold"]}}, "in two groups"),
        ({"only": ["hold"], "groups": {"g": ["hold"]}}, "part of the group 'g'"),
        ({"only": ["jump"]}, "there is no label 'jump'"),
    ],
)
def test_wrong_labels_are_one_sentence(settings, words):
    with pytest.raises(UsageError, match=words):
        LabelView(LABELS, LiveConfig(**settings))


def test_an_event_has_hysteresis():
    rows = [[np.log(p / (1 - p) * 2), 0, 0] for p in (0.4, 0.6, 0.45, 0.35, 0.2)]
    _, events, _ = run(LiveConfig(smooth_s=0, on=0.5, off=0.3), rows)
    assert [(e.phase, e.time_s) for e in events] == [
        ("start", 4.5),
        ("update", 5.0),
        ("update", 5.5),
        ("end", 6.0),
    ]
    assert events[-1].duration_s == pytest.approx(1.5)
    assert events[-1].p == pytest.approx(0.6)


def test_a_short_flash_is_not_told_and_the_onset_delay_is():
    rows = [[9, 0, 0], [0, 0, 9], [9, 0, 0], [9, 0, 0], [9, 0, 0]]
    _, events, _ = run(LiveConfig(smooth_s=0, min_s=1.0), rows)
    assert [(e.phase, e.label) for e in events] == [("start", "push left")]
    assert events[0].detected_s == 5.0
    assert events[0].report_delay_s == pytest.approx(1.0)


def test_the_onset_is_estimated_from_the_windows_around_the_first_detection():
    rows = [[0, 0, 9], [0, 0, 9], [9, 0, 0], [9, 0, 0]]
    _, events, _ = run(LiveConfig(smooth_s=0), rows)
    first, second = [e for e in events if e.phase == "start"]
    assert (first.onset_s, first.detected_s) == (0.0, 4.0), "nothing is known before the window"
    # The last window without it is [0.5, 4.5], the first with it [1.0, 5.0].
    assert (second.onset_s, second.detected_s) == (2.75, 5.0)
    ends = [e for e in events if e.phase == "end"]
    assert all(e.duration_s == e.time_s - e.detected_s for e in ends)


@pytest.mark.parametrize("offset_s", [0.0, 0.1, 0.25, 0.49])
def test_the_onset_is_near_the_beginning_of_the_action(offset_s):
    """A model that sees what fills most of its window, as a real one does."""
    onset_s = 10.0 + offset_s
    rows = []
    for end_s in np.arange(4.0, 20.0, 0.5):
        share = np.clip((end_s - onset_s) / 4.0, 0, 1)
        rows.append([12 * share - 6, 0, 6 - 12 * share])
    _, events, _ = run(LiveConfig(), rows)
    event = next(e for e in events if e.phase == "start" and e.label == "push left")
    assert abs(event.onset_s - onset_s) <= 0.75
    assert event.detected_s - onset_s > 1.75


def test_the_onset_does_not_reach_over_a_gap_or_a_hole():
    config = LiveConfig(smooth_s=0)
    decider = Decider("cam", LabelView(LABELS, config), config)

    def start_of(window, row):
        records = decider.update(window, np.array(row, np.float32), 0.0, {})
        return next(r for r in records if isinstance(r, Event) and r.phase == "start")

    start_of((0.0, 4.0), [0, 0, 9])
    assert start_of((20.0, 24.0), [9, 0, 0]).onset_s == 20.0, "windows between were lost"
    decider.flush(0.0)
    assert start_of((24.5, 28.5), [0, 9, 0]).onset_s == 24.5


def test_a_label_is_quiet_for_its_refractory_time_and_others_are_not():
    rows = [[9, 0, 0], [0, 0, 9], [9, 0, 0], [0, 9, 0], [9, 0, 0], [9, 0, 0]]
    _, events, _ = run(LiveConfig(smooth_s=0, refractory_s=1.6), rows)
    starts = [(e.label, e.time_s) for e in events if e.phase == "start"]
    assert starts == [("push left", 4.0), ("hold", 4.5), ("push right", 5.5), ("push left", 6.5)]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.floats(-8, 8)] * 3), min_size=1, max_size=40),
    min_s=st.sampled_from([0.0, 0.6]),
)
def test_every_start_has_one_end_after_it_and_none_overlap(rows, min_s):
    _, events, decider = run(LiveConfig(smooth_s=0.3, min_s=min_s, on=0.6, off=0.4), rows)
    events += decider.flush(0.0)
    open_number = None
    for event in events:
        if event.phase == "start":
            assert open_number is None
            open_number = event.number
        assert event.number == open_number
        if event.phase == "end":
            open_number = None
    assert open_number is None


def test_a_gap_ends_what_is_open_and_forgets_the_average():
    config = LiveConfig(smooth_s=100.0)
    decider = Decider("cam", LabelView(LABELS, config), config)
    decider.update((0, 4), np.array([9, 0, 0], np.float32), 0.0, {})
    assert [e.phase for e in decider.flush(1.0)] == ["end"]
    assert decider.update((4, 8), np.array([0, 9, 0], np.float32), 0.0, {})[0].label == "push right"


def test_settings_from_yaml_with_flags_on_top(tmp_path):
    path = tmp_path / "live.yaml"
    path.write_text("on: 0.7\noff: 0.2\nhop: 2\n")
    assert load_live_config(path, {"hop": 4, "budget_s": None}) == LiveConfig(
        on=0.7, off=0.2, hop=4
    )
    assert with_settings(LiveConfig(), {}, "x") is None
    assert with_settings(LiveConfig(hop=3), {"on": 0.9}, "x") == LiveConfig(hop=3, on=0.9)
    for name in ("budget_s", "tempo"):
        with pytest.raises(UsageError, match=f"camera yard: {name} holds for all cameras"):
            with_settings(LiveConfig(), {name: 2}, "camera yard")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("smoth_s: 1", "Did you mean 'smooth_s'"),
        ("- 1", "not a mapping"),
        ("on: 2", "less than or equal to 1"),
        ("on: 0.2\noff: 0.4", "off 0.4"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path, text, words):
    path = tmp_path / "live.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_live_config(path)
