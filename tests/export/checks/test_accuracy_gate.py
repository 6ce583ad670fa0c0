import numpy as np
import pytest

from gasmcast.evaluation.metrics import fit_temperature
from gasmcast.export.checks.accuracy_gate import (
    fit_elsewhere,
    judge_precision,
    no_action_threshold,
)
from gasmcast.export.checks.gate_verdict import GateRecipe

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, 200)
GOOD = np.eye(5)[LABELS] * 4 + RNG.normal(size=(200, 5))


def test_fp32_against_itself_passes_and_has_its_figures():
    v = judge_precision("fp32", "openvino", GOOD, GOOD, LABELS)
    assert v
    assert (v.agreement, v.top1_loss, v.ece_shift) == (1.0, 0.0, 0.0)
    assert v.measured().temperature == v.temperature
    assert "passes" in str(v)


def test_lost_agreement_fails_and_says_why():
    turned = GOOD.copy()
    turned[:20] = np.roll(turned[:20], 1, axis=1)
    v = judge_precision("int8", "openvino", GOOD, turned, LABELS)
    assert not v
    assert v.agreement == pytest.approx(0.9)
    assert any("agreement" in r for r in v.reasons)
    low, high = v.agreement_interval
    assert (round(low, 3), round(high, 3)) == (0.851, 0.934)  # Wilson, 180 of 200
    assert "agreement 90.0 % [85.1, 93.4]" in str(v)
    assert any("top-1 falls" in r for r in v.reasons)
    assert v.loss_interval[0] <= v.top1_loss <= v.loss_interval[1]
    assert set(v.disagree) <= set(range(20))


def test_confidence_that_lies_fails_even_when_every_decision_agrees():
    torn = GOOD.copy()
    torn[::2] *= 8  # no temperature corrects both halves
    v = judge_precision("int8", "", GOOD, torn, LABELS, recipe=GateRecipe(ece_shift=0.005))
    assert v.agreement == 1.0
    assert not v
    assert any("calibration" in r for r in v.reasons)


def test_temperature_is_fitted_for_each_precision():
    a, b = (
        judge_precision("fp32", "", GOOD, GOOD, LABELS),
        judge_precision("int8", "", GOOD, GOOD * 3, LABELS),
    )
    assert b.temperature == pytest.approx(3 * a.temperature, rel=0.01)
    assert b.ece == pytest.approx(a.ece, abs=1e-3)


def test_without_labels_only_agreement_counts():
    v = judge_precision("int8", "", GOOD, GOOD, None)
    assert v
    assert v.top1 is None
    assert v.no_action is None


def test_what_is_fitted_elsewhere_serves_clips_without_labels_alone():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 200)
    unseen = rng.normal(0, 3, (200, 5)) + 2 * np.eye(5)[labels]
    fitted = fit_elsewhere(unseen, labels, 0.05)
    assert fitted == (fit_temperature(unseen, labels), no_action_threshold(unseen, labels, 0.05))
    assert fitted.no_action is not None

    # Clips that were learned, whose own temperature and threshold would be far too sure.
    learned = 20 * np.eye(5)[labels]
    verdict = judge_precision("fp32", "cpu", learned, learned, None, fitted=fitted)
    assert (verdict.temperature, verdict.no_action, verdict.top1) == (*fitted, None)
    held_out = judge_precision("fp32", "cpu", unseen / 2, unseen / 2, labels, fitted=fitted)
    assert held_out == judge_precision("fp32", "cpu", unseen / 2, unseen / 2, labels)

    # Background may still raise the threshold.
    loud = np.full((20, 5), fitted.no_action + 1)
    verdict = judge_precision("fp32", "cpu", learned, learned, None, fitted=fitted, background=loud)
    assert verdict.no_action > fitted.no_action
    assert verdict.background_reported == 0


def test_logits_that_are_not_numbers_fail():
    broken = GOOD.copy()
    broken[3] = np.nan
    v = judge_precision("fp16", "", GOOD, broken, LABELS)
    assert not v
    assert "not numbers" in v.reasons[0]


def test_no_action_threshold_keeps_the_stated_rate_of_false_alarms():
    noisy = GOOD + 2 * RNG.normal(size=GOOD.shape)
    wrong = noisy.argmax(1) != LABELS
    assert wrong.mean() > 0.1
    threshold = no_action_threshold(noisy, LABELS, 0.05)
    reported = noisy.max(1) >= threshold
    assert (wrong & reported).mean() == int(0.05 * len(LABELS)) / len(LABELS)
    assert (reported & ~wrong).sum() > 0


def test_background_raises_the_threshold_and_changes_nothing_else():
    without = judge_precision("int8", "", GOOD, GOOD, LABELS)
    assert (without.background, without.background_reported) == (0, None)
    background = RNG.normal(size=(100, GOOD.shape[1])) + 3
    v = judge_precision("int8", "", GOOD, GOOD, LABELS, background=background)
    assert v.background == 100
    assert v.background_reported == 0.05
    assert v.no_action is not None
    assert (background.max(1) >= v.no_action).sum() == 5
    right = GOOD.argmax(1) == LABELS
    assert v.right_reported == (GOOD.max(1)[right] >= v.no_action).mean()
    assert "background reported 5.0 % of 100 windows" in str(v)
    assert (v.top1, v.temperature, v.agreement) == (
        without.top1,
        without.temperature,
        without.agreement,
    )

    # Without labels of its classes the background alone decides; a few windows may be reported.
    assert judge_precision("int8", "", GOOD, GOOD, None, background=background).no_action == (
        v.no_action
    )
    nothing = judge_precision("int8", "", GOOD, GOOD, None, background=background[:0])
    assert (nothing.no_action, nothing.background_reported) == (None, None)


def test_few_enough_wrong_decisions_give_no_threshold():
    assert no_action_threshold(np.eye(5)[LABELS] * 9, LABELS, 0.05) is None
