"""The accuracy gate: a precision enters a bundle only when held-out clips say that it decides as FP32 does.

Agreement with FP32, loss of top-1 (paired by clip: each clip is its own control, so the interval is that of the difference) and shift of
the calibration error, each against the recipe. Temperature and no-action threshold are fitted anew for each precision, because
quantization moves confidence before it moves the decision.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import bootstrap_interval, ece, fit_temperature, hits, top_k
from gasmcast.manifest import Measured

__all__ = ["GateRecipe", "Verdict", "judge", "no_action_threshold"]

Logits = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class GateRecipe:
    """Thresholds, as shares of clips (0.01 is one point)."""

    agreement: float = 0.98
    top1_loss: float = 0.01
    ece_shift: float = 0.03
    false_alarms: float = 0.05
    """The share of all held-out clips that may be decided wrongly and still be told: the no-action threshold keeps back the rest."""


@dataclass(frozen=True)
class Verdict:
    """What the gate found for one precision; truthy when it may enter the bundle."""

    precision: str
    engine: str
    clips: int
    agreement: float
    top1: float | None
    top5: float | None
    top1_loss: float | None
    loss_interval: tuple[float, float] | None
    """95 % of the paired loss of top-1, shares."""
    ece: float | None
    """After the temperature was fitted anew."""
    ece_shift: float | None
    """Against FP32 with its own temperature."""
    temperature: float
    no_action: float | None
    disagree: tuple[int, ...]
    reasons: tuple[str, ...]
    recipe: GateRecipe

    def __bool__(self) -> bool:
        return not self.reasons

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """95 % of the agreement over all clips like these (E. B. Wilson, 1927): what so few clips can say."""
        n, p, z = max(self.clips, 1), self.agreement, 1.96
        middle, half = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
        return max(0.0, (middle - half) / (1 + z * z / n)), min(
            1.0, (middle + half) / (1 + z * z / n)
        )

    def __str__(self) -> str:
        top1 = (
            ""
            if self.top1 is None or self.top1_loss is None
            else f", top-1 {100 * self.top1:.1f} % (loss {100 * self.top1_loss:.1f} points)"
        )
        verdict = "passes" if self else "FAILS: " + "; ".join(self.reasons)
        low, high = (100 * share for share in self.agreement_interval)
        agree = f"agreement {100 * self.agreement:.1f} % [{low:.1f}, {high:.1f}]"
        return f"{self.precision} on {self.clips} held-out clips ({self.engine}): {agree}{top1}: {verdict}"

    def measured(self) -> Measured:
        """The manifest's record."""
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
        """Plain data for a report."""
        return {**asdict(self), "passed": bool(self), "agreement_interval": self.agreement_interval}


def judge(
    precision: str,
    engine: str,
    fp32: Logits,
    logits: Logits,
    labels: NDArray[np.integer[Any]] | None,
    *,
    recipe: GateRecipe | None = None,
) -> Verdict:
    """Judge one precision on held-out clips.

    Args:
        precision: its name; `fp32` is judged against itself, for its own figures.
        engine: what ran it, in words.
        fp32: `(N, classes)` logits of the FP32 graph.
        logits: `(N, classes)` of the precision, same clips.
        labels: `(N,)` classes, where they are known.
        recipe: thresholds.
    """
    recipe = recipe or GateRecipe()
    same = fp32.argmax(1) == logits.argmax(1)
    finite = np.isfinite(logits).all(1)
    same &= finite
    agreement = float(same.mean())
    reasons = []
    if not finite.all():
        reasons.append(f"logits of {int((~finite).sum())} clips are not numbers")
        logits = np.nan_to_num(logits, nan=0.0, posinf=0.0, neginf=0.0)
    if agreement < recipe.agreement:
        reasons.append(
            f"agreement with FP32 is {100 * agreement:.1f} %, the recipe wants {100 * recipe.agreement:.1f} %"
        )
    top1 = top5 = loss = error = shift = None
    interval = None
    temperature, threshold = 1.0, None
    if labels is not None and len(labels):
        right, right32 = hits(logits, labels), hits(fp32, labels)
        top1, top5 = float(right.mean()), top_k(logits, labels, 5)
        paired = right32.astype(np.float64) - right
        loss, interval = float(paired.mean()), bootstrap_interval(paired)
        temperature = fit_temperature(logits, labels)
        error = ece(logits, labels, temperature)
        shift = error - ece(fp32, labels, fit_temperature(fp32, labels))
        threshold = no_action_threshold(logits, labels, recipe.false_alarms)
        if loss > recipe.top1_loss:
            low, high = interval
            reasons.append(
                f"top-1 falls by {100 * loss:.1f} points (95 %: {100 * low:.1f} to {100 * high:.1f}), {100 * recipe.top1_loss:.1f} allowed"
            )
        if shift > recipe.ece_shift:
            reasons.append(
                f"calibration error rises by {100 * shift:.1f} points, {100 * recipe.ece_shift:.1f} allowed"
            )
    return Verdict(
        precision, engine, len(logits), agreement, top1, top5, loss, interval, error, shift, temperature, threshold,
        tuple(int(i) for i in np.flatnonzero(~same)[:50]), tuple(reasons), recipe,
    )  # fmt: skip


def no_action_threshold(
    logits: Logits, labels: NDArray[np.integer[Any]], rate: float
) -> float | None:
    """The least largest-logit at which wrong decisions that are told are no more than a share `rate` of all clips.

    A closed set has no clips of "nothing"; those decided wrongly are the nearest thing to an unknown scene that it has (max-logit
    score: D. Hendrycks et al., ICML 2022). A class like "Holding something" is an answer of its own and no stand-in: its clips score high.

    Returns:
        the threshold; None where so few are wrong that every decision may be told.
    """
    top = np.asarray(logits, np.float64).max(1)
    wrong = np.sort(top[~hits(logits, labels)])[::-1]
    allowed = int(rate * len(labels))
    return float(wrong[allowed]) if len(wrong) > allowed else None
