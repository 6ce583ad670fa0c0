"""Accuracy gate: a precision enters a bundle only if it decides held-out clips as FP32 does.

Three figures are compared with the recipe: agreement with FP32, loss of top-1 accuracy, and shift
of the calibration error. The loss is paired by clip: each clip is its own control, so the interval
is that of the difference. Temperature and no-action threshold are fitted for each precision,
because quantization changes confidence before it changes decisions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import bootstrap_interval, ece, fit_temperature, hits, top_k
from gasmcast.manifest import Measured

__all__ = ["GateRecipe", "GateVerdict", "judge_precision", "no_action_threshold"]

Logits = NDArray[np.floating[Any]]
ClassLabels = NDArray[np.integer[Any]]
_LISTED = 50
"""Clips that a verdict lists at most."""


@dataclass(frozen=True)
class GateRecipe:
    """Thresholds of the gate, as shares of clips (0.01 is one percentage point)."""

    agreement: float = 0.98
    """Smallest share of clips with the same class as FP32."""
    top1_loss: float = 0.01
    """Largest loss of top-1 accuracy."""
    ece_shift: float = 0.03
    """Largest increase of the calibration error."""
    false_alarms: float = 0.05
    """Largest share of held-out clips that may be decided wrongly and still be reported; the
    no-action threshold suppresses the rest."""


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """Verdict of the gate on one precision; truthy when the precision may enter the bundle."""

    precision: str
    engine: str
    clips: int
    agreement: float
    """Share of clips with the same class as FP32."""
    top1: float | None
    top5: float | None
    top1_loss: float | None
    loss_interval: tuple[float, float] | None
    """95 % interval of the paired loss of top-1, as shares."""
    ece: float | None
    """Calibration error with `temperature`."""
    ece_shift: float | None
    """Calibration error minus that of FP32 with FP32's own temperature."""
    temperature: float
    no_action: float | None
    """Largest logit below which there is no action; None if every decision may be reported."""
    disagree: tuple[int, ...]
    """Indices of the first clips that are decided differently from FP32."""
    reasons: tuple[str, ...]
    """Thresholds that are not met, in words."""
    recipe: GateRecipe

    def __bool__(self) -> bool:
        return not self.reasons

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """95 % interval of the agreement on all clips like these (E. B. Wilson, 1927)."""
        n, p, z = max(self.clips, 1), self.agreement, 1.96
        middle = p + z * z / (2 * n)
        half = z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
        scale = 1 + z * z / n
        return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)

    def __str__(self) -> str:
        low, high = self.agreement_interval
        figures = f"agreement {100 * self.agreement:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        if self.top1 is not None and self.top1_loss is not None:
            figures += f", top-1 {100 * self.top1:.1f} % (loss {100 * self.top1_loss:.1f} points)"

        result = "passes" if self else "FAILS: " + "; ".join(self.reasons)
        clips = f"{self.clips} held-out clips ({self.engine})"
        return f"{self.precision} on {clips}: {figures}: {result}"

    def measured(self) -> Measured:
        """Return the manifest's record of this precision."""
        return Measured(
            clips=self.clips,
            top1=self.top1,
            top5=self.top5,
            agreement=self.agreement,
            temperature=self.temperature,
            no_action=self.no_action,
            loss_interval=self.loss_interval,
            ece=self.ece,
            engine=self.engine,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report."""
        return {**asdict(self), "passed": bool(self), "agreement_interval": self.agreement_interval}


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
) -> GateVerdict:
    """Judge one precision on N held-out clips.

    Args:
        precision: name of the precision; `fp32` is judged against itself, for its own figures.
        engine: description of the engine that ran it.
        fp32: logits of the FP32 graph, `(N, classes)`.
        logits: logits of the precision on the same clips, `(N, classes)`.
        labels: classes of the clips, `(N,)`; None if unknown.
        recipe: thresholds; the defaults of `GateRecipe` if None.
    """
    recipe = recipe or GateRecipe()
    reasons = []

    # A clip whose logits are not numbers agrees with nothing, and must not enter the other figures.
    finite = np.isfinite(logits).all(1)
    same = (fp32.argmax(1) == logits.argmax(1)) & finite
    if not finite.all():
        reasons.append(f"logits of {int((~finite).sum())} clips are not numbers")
        logits = np.nan_to_num(logits, nan=0.0, posinf=0.0, neginf=0.0)

    agreement = float(same.mean())
    if agreement < recipe.agreement:
        reasons.append(
            f"agreement with FP32 is {100 * agreement:.1f} %, "
            f"the recipe wants {100 * recipe.agreement:.1f} %"
        )

    scores = None
    if labels is not None and len(labels):
        scores = _score(fp32, logits, labels, recipe.false_alarms)
        reasons += _broken_limits(scores, recipe)

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
        temperature=scores.temperature if scores else 1.0,
        no_action=scores.no_action if scores else None,
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
        low, high = scores.loss_interval
        reasons.append(
            f"top-1 falls by {100 * scores.top1_loss:.1f} points "
            f"(95 %: {100 * low:.1f} to {100 * high:.1f}), {100 * recipe.top1_loss:.1f} allowed"
        )
    if scores.ece_shift > recipe.ece_shift:
        reasons.append(
            f"calibration error rises by {100 * scores.ece_shift:.1f} points, "
            f"{100 * recipe.ece_shift:.1f} allowed"
        )
    return reasons


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
    top = np.asarray(logits, np.float64).max(1)
    wrong = np.sort(top[~hits(logits, labels)])[::-1]
    allowed = int(rate * len(labels))
    return float(wrong[allowed]) if len(wrong) > allowed else None
