"""What an export says about its model, its judges, and the precision that `live` uses."""

from __future__ import annotations

import numpy as np
import pytest

from gasmcast.evaluation.out_of_fold import OutOfFold
from gasmcast.export.checks.accuracy_gate import FittedElsewhere, judge_precision
from gasmcast.export.checks.gate_verdict import GateRecipe
from gasmcast.export.notes import (
    chance_note,
    few_clips_note,
    live_note,
    overflow_notes,
    trained_note,
)


def verdict(precision, right, labels, classes):
    """Return the verdict on a model that decides the first `right` clips rightly."""
    answers = labels.copy()
    answers[right:] = (answers[right:] + 1) % classes
    logits = np.eye(classes)[answers] * 3
    return judge_precision(precision, "an engine", logits, logits, labels, recipe=GateRecipe())


@pytest.mark.parametrize(
    ("clips", "right", "classes", "hardly"),
    [
        (14, 3, 7, True),  # newcomer.md 13: 21 % where chance is 14 %
        (14, 12, 7, False),
        (200, 60, 7, False),
        (200, 30, 7, True),
        (8, 4, 174, False),
    ],
)
def test_a_model_near_chance_is_named(clips, right, classes, hardly):
    labels = np.arange(clips) % classes
    note = chance_note(verdict("fp32", right, labels, classes), labels, classes)
    assert bool(note) == hardly
    if hardly:
        assert "hardly better than chance" in note


@pytest.mark.parametrize(
    ("fitted", "by_eval", "says"),
    [
        (FittedElsewhere(1.5, 2.0), False, "in FP32, give temperature and threshold."),
        (FittedElsewhere(1.5, 2.0), True, "in FP32, give the no-action threshold."),
        (None, False, "so temperature and threshold could not be fitted."),
        (None, True, "so the no-action threshold could not be fitted."),
    ],
)
def test_clips_that_were_trained_on_are_named(fitted, by_eval, says):
    judged = OutOfFold(folds=3, clips=12, sources=6, top1=0.5, top1_interval=(0.3, 0.7))
    note = trained_note(fitted, has_eval_temperature=by_eval, judged=judged)
    assert note.startswith("WARNING: the clips were trained on: agreement is judged, accuracy and")
    assert says in note
    assert note.endswith("top-1 50.0 % (30.0 to 70.0 %, 95 % over sources)")


def test_always_the_most_frequent_class_is_chance_too():
    labels = np.array([0] * 90 + [1] * 10)
    note = chance_note(verdict("fp32", 90, labels, 2), labels, 2)
    assert "hardly better than chance (90.0 %)" in note


@pytest.mark.parametrize(("clips", "few"), [(14, True), (256, False)])
def test_few_clips_are_named_with_their_interval(clips, few):
    labels = np.arange(clips) % 7
    one = verdict("int8", clips, labels, 7)
    note = few_clips_note([verdict("fp32", clips, labels, 7), one])
    assert bool(note) == few
    if few:
        assert "only 14 clips judged: int8 agrees with FP32 on 100.0 % of them" in note
        assert "78.5 to 100.0 %" in note
    assert not few_clips_note([verdict("fp32", clips, labels, 7)])


@pytest.mark.parametrize(
    ("precisions", "ms", "words"),
    [
        (
            ("fp32", "int8"),
            {"fp32": 5.0, "int8": 6.25},
            "uses fp32, the fastest when it was exported (int8 6.2 ms, fp32 5.0 ms a decision)",
        ),
        (
            ("fp32", "int8"),
            {},
            "uses int8, the first in the usual order, because not all were timed",
        ),
        (("fp32",), {"fp32": 5.0}, "uses fp32, the only one for a CPU in the bundle"),
        (("fp32", "fp16"), {}, "uses fp32, the only one for a CPU in the bundle"),
    ],
)
def test_the_precision_of_live_has_its_reason(precisions, ms, words):
    assert words in live_note(precisions, ms)


def test_values_that_do_not_fit_int8_are_named():
    assert overflow_notes({"encoder": {}, "head": {}}) == []
    (note,) = overflow_notes({"encoder": {"a": 1e9, "b": 3e9}, "head": {}})
    assert "encoder: values of 2 tensors, up to 3.0e+09 in b, do not fit INT8" in note
