"""Accuracy gate: a precision enters a bundle only if it decides held-out clips as FP32 does.

Three figures are compared with the recipe: agreement with FP32, loss of top-1 accuracy, and shift
of the calibration error. The loss is paired by clip: each clip is its own control, so the interval
is that of the difference. Temperature and no-action threshold are fitted for each precision,
because quantization changes confidence before it changes decisions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import bootstrap_interval, ece, fit_temperature, hits, top_k
from gasmcast.export.checks.gate_verdict import GateRecipe, GateVerdict

__all__ = ["FittedElsewhere", "fit_elsewhere", "judge_precision", "no_action_threshold"]

Logits = NDArray[np.floating[Any]]
ClassLabels = NDArray[np.integer[Any]]
_LISTED = 50
"""Clips that a verdict lists at most."""


class FittedElsewhere(NamedTuple):
    """Temperature and no-action threshold for clips without labels; the default changes nothing."""

    temperature: float = 1.0
    no_action: float | None = None


class _LabeledScores(NamedTuple):
    """Figures that need the classes of the clips."""

    top1: float
    top5: float
    top1_loss: float
    loss_interval: tuple[float, float]
    ece: float
    ece_shift: float
    temperature: float
    no_action: float | None


def judge_precision(
    precision: str,
    engine: str,
    fp32: Logits,
    logits: Logits,
    labels: ClassLabels | None,
    *,
    recipe: GateRecipe | None = None,
    background: Logits | None = None,
    fitted: FittedElsewhere | None = None,
) -> GateVerdict:
    """Judge one precision on N held-out clips.

    Args:
        precision: name of the precision; `fp32` is judged against itself, for its own figures.
        engine: description of the engine that ran it.
        fp32: logits of the FP32 graph, `(N, classes)`.
        logits: logits of the precision on the same clips, `(N, classes)`.
        labels: classes of the clips, `(N,)`; None if unknown.
        recipe: thresholds; the defaults of `GateRecipe` if None.
        background: logits `(M, classes)` of windows in which no action happens; None: there are
            none. They may raise the no-action threshold; the verdict has the shares of them and of
            the rightly decided clips that reach it. They change no other figure.
        fitted: temperature and threshold from other clips, used if `labels` is None.

    Returns:
        The verdict, with the figures and the thresholds that are not met.
    """
    recipe, fitted = recipe or GateRecipe(), fitted or FittedElsewhere()
    reasons = []

    # A clip whose logits are not numbers agrees with nothing, and must not enter the other figures.
    finite = np.isfinite(logits).all(1)
    same = (fp32.argmax(1) == logits.argmax(1)) & finite
    if not finite.all():
        reasons.append(f"logits of {int((~finite).sum())} clips are not numbers")
        logits = np.nan_to_num(logits, nan=0.0, posinf=0.0, neginf=0.0)

    # Agreement needs no labels, so every precision has it.
    agreement = float(same.mean())
    if agreement < recipe.agreement:
        reasons.append(
            f"agreement with FP32 is {100 * agreement:.1f} %, "
            f"the recipe wants {100 * recipe.agreement:.1f} %"
        )

    # A set with other classes than the model's has no labels: only agreement can be judged then.
    scores = None
    if labels is not None and len(labels):
        scores = _score(fp32, logits, labels, recipe.false_alarms)
        reasons += _broken_limits(scores, recipe)

    # Raise the threshold until background, if there is any, is also reported at most at the
    # allowed rate.
    threshold = scores.no_action if scores else fitted.no_action
    windows = np.zeros(0) if background is None else np.nan_to_num(background).max(1)
    limit = _limit(windows, recipe.false_alarms)
    if limit is not None:
        threshold = limit if threshold is None else max(threshold, limit)
    reported = None if background is None else _share_reported(windows, threshold)
    right = None
    if background is not None and labels is not None and len(labels):
        right = _share_reported(logits.max(1)[hits(logits, labels)], threshold)

    return GateVerdict(
        precision=precision,
        engine=engine,
        clips=len(logits),
        agreement=agreement,
        top1=scores.top1 if scores else None,
        top5=scores.top5 if scores else None,
        top1_loss=scores.top1_loss if scores else None,
        loss_interval=scores.loss_interval if scores else None,
        ece=scores.ece if scores else None,
        ece_shift=scores.ece_shift if scores else None,
        temperature=scores.temperature if scores else fitted.temperature,
        no_action=threshold,
        background=len(windows),
        background_reported=reported,
        right_reported=right,
        disagree=tuple(int(i) for i in np.flatnonzero(~same)[:_LISTED]),
        reasons=tuple(reasons),
        recipe=recipe,
    )


def _score(
    fp32: Logits, logits: Logits, labels: ClassLabels, false_alarms: float
) -> _LabeledScores:
    correct, correct_fp32 = hits(logits, labels), hits(fp32, labels)
    loss = correct_fp32.astype(np.float64) - correct  # (N,) of -1, 0, 1

    # Each precision is calibrated by its own temperature, FP32 too.
    temperature = fit_temperature(logits, labels)
    error = ece(logits, labels, temperature)
    error_fp32 = ece(fp32, labels, fit_temperature(fp32, labels))

    return _LabeledScores(
        top1=float(correct.mean()),
        top5=top_k(logits, labels, 5),
        top1_loss=float(loss.mean()),
        loss_interval=bootstrap_interval(loss),
        ece=error,
        ece_shift=error - error_fp32,
        temperature=temperature,
        no_action=no_action_threshold(logits, labels, false_alarms),
    )


def _broken_limits(scores: _LabeledScores, recipe: GateRecipe) -> list[str]:
    reasons = []
    if scores.top1_loss > recipe.top1_loss:
        # The measured loss decides; the interval shows how much the clips can tell.
        low, high = scores.loss_interval
        reasons.append(
            f"top-1 falls by {100 * scores.top1_loss:.1f} points "
            f"(95 %: {100 * low:.1f} to {100 * high:.1f}), {100 * recipe.top1_loss:.1f} allowed"
        )

    # Confidence may suffer even if every decision stays the same.
    if scores.ece_shift > recipe.ece_shift:
        reasons.append(
            f"calibration error rises by {100 * scores.ece_shift:.1f} points, "
            f"{100 * recipe.ece_shift:.1f} allowed"
        )
    return reasons


def fit_elsewhere(logits: Logits, labels: ClassLabels, rate: float) -> FittedElsewhere:
    """Return temperature and no-action threshold of clips that do not judge.

    Args:
        logits: `(N, classes)`.
        labels: `(N,)`.
        rate: see `no_action_threshold`.
    """
    threshold = no_action_threshold(logits, labels, rate)
    return FittedElsewhere(fit_temperature(logits, labels), threshold)


def no_action_threshold(logits: Logits, labels: ClassLabels, rate: float) -> float | None:
    """Return the smallest max-logit threshold that limits false alarms to a share of all clips.

    A closed set has no clips of "nothing". Clips that are decided wrongly are its nearest stand-in
    for an unknown scene (max-logit score: D. Hendrycks et al., ICML 2022). A class like "Holding
    something" is an answer of its own and no stand-in: its clips score high.

    Args:
        logits: `(N, classes)`.
        labels: `(N,)`.
        rate: largest share of all clips that may be decided wrongly and still be reported.

    Returns:
        The threshold; None if so few decisions are wrong that all may be reported.
    """
    wrong = np.asarray(logits, np.float64).max(1)[~hits(logits, labels)]
    return _limit(wrong, rate, len(labels))


def _limit(top: NDArray[np.floating[Any]], rate: float, count: int | None = None) -> float | None:
    """Return the smallest threshold that at most `rate * count` values of `top` reach.

    Args:
        top: `(M,)` largest logits of windows that should not be reported.
        rate: share of `count` that may reach it.
        count: base of `rate`; `len(top)` if None.

    Returns:
        The threshold; None if all may be reported.
    """
    # Sorted from the most confident one down: the first that is not allowed stays below.
    allowed = int(rate * (len(top) if count is None else count))
    if len(top) <= allowed:
        return None
    return float(np.nextafter(np.sort(np.asarray(top, np.float64))[::-1][allowed], np.inf))


def _share_reported(top: NDArray[np.floating[Any]], threshold: float | None) -> float | None:
    """Return the share of windows that reach a threshold; None without windows."""
    if not len(top):
        return None
    # In float32 the threshold would be rounded to the logit that it is just above.
    return 1.0 if threshold is None else float((top.astype(np.float64) >= threshold).mean())
