"""Sentences about an export that a user must know before relying on the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gasmcast.calibration.qdq import LARGEST_TOP
from gasmcast.evaluation.out_of_fold import OutOfFold
from gasmcast.export.checks.accuracy_gate import FittedElsewhere
from gasmcast.export.checks.gate_verdict import GateVerdict, wilson_interval
from gasmcast.runtime.bundle import fastest_on_cpu, reason_on_cpu

__all__ = ["chance_note", "few_clips_note", "live_note", "overflow_notes", "trained_note"]

_WIDE = 0.05
"""Distance of the interval's lower end from the measured agreement above which clips are few."""


def chance_note(verdict: GateVerdict, labels: NDArray[np.integer], classes: int) -> str:
    """Return a note if a model is hardly better than chance; empty otherwise.

    Chance is the better of two answers that need no model: a class at random, or always the class
    that most clips have.

    Args:
        verdict: verdict on FP32.
        labels: `(clips,)` true classes of the clips that judged.
        classes: number of classes.
    """
    if verdict.top1 is None or not len(labels):
        return ""
    most_frequent = np.bincount(labels).max() / len(labels)
    chance = max(1 / classes, float(most_frequent))
    low, high = wilson_interval(verdict.top1, verdict.clips)
    if low > chance:
        return ""
    return (
        f"top-1 {100 * verdict.top1:.1f} % [{100 * low:.1f}, {100 * high:.1f}] on {verdict.clips} "
        f"clips is hardly better than chance ({100 * chance:.1f} %). Agreement with FP32 says "
        "nothing about such a model: train it longer or on more clips, then export again"
    )


def trained_note(
    fitted: FittedElsewhere | None, *, has_eval_temperature: bool, judged: OutOfFold | None
) -> str:
    """Return a warning that the clips were trained on, and what the bundle has instead.

    Args:
        fitted: temperature and threshold out of fold; None: the run has no logits for them.
        has_eval_temperature: whether `gasmcast eval` has fitted the temperature on other clips.
        judged: figures out of fold of the run.
    """
    names = "the no-action threshold" if has_eval_temperature else "temperature and threshold"
    if fitted is None:
        instead = f"The run stores no logits of its folds, so {names} could not be fitted"
    else:
        instead = f"The logits of the run's folds, in FP32, give {names}"
    figures = "" if judged is None else f". {str(judged).rstrip('.')}"
    return (
        "WARNING: the clips were trained on: agreement is judged, accuracy and calibration are"
        f" not. {instead}{figures}"
    )


def few_clips_note(verdicts: Sequence[GateVerdict]) -> str:
    """Return a note if too few clips judged for the gate to show much; empty otherwise."""
    judged = [verdict for verdict in verdicts if verdict.precision != "fp32"]
    if not judged:
        return ""
    verdict = min(judged, key=lambda one: one.agreement_interval[0])
    low, high = verdict.agreement_interval
    if verdict.agreement - low <= _WIDE:
        return ""
    return (
        f"only {verdict.clips} clips judged: {verdict.precision} agrees with FP32 on "
        f"{100 * verdict.agreement:.1f} % of them, which stands for {100 * low:.1f} to "
        f"{100 * high:.1f} % of all clips like these. More validation clips narrow it"
    )


def live_note(precisions: Sequence[str], ms: Mapping[str, float]) -> str:
    """Return which precision `live` uses on a CPU, and why.

    Args:
        precisions: precisions in the bundle.
        ms: time of a decision by precision, in ms, as far as it was measured.
    """
    times = {precision: ms.get(precision) for precision in precisions}
    taken = fastest_on_cpu(times)
    if taken is None:
        return ""
    return (
        f"on a CPU `gasmcast live` uses {taken}, {reason_on_cpu(times, taken)}; "
        "--precision chooses another one"
    )


def overflow_notes(too_large: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a note for each graph with values that do not fit INT8.

    Args:
        too_large: graph -> tensor -> largest value.
    """
    notes = []
    for graph, tensors in too_large.items():
        if not tensors:
            continue
        name = max(tensors, key=tensors.__getitem__)
        notes.append(
            f"{graph}: values of {len(tensors)} tensors, up to {tensors[name]:.1e} in {name}, do "
            f"not fit INT8 (at most {LARGEST_TOP:.1e}); the operators that read them stay in high "
            "precision. Such values often come from a normalization layer with a variance near 0"
        )
    return notes
