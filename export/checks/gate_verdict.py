"""Thresholds of the accuracy gate, and its verdict on one precision."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gasmcast.manifest import Measured

__all__ = ["GateRecipe", "GateVerdict", "wilson_interval"]


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
    """Largest share of held-out clips that may be decided wrongly and still be reported, and of
    background windows that may be reported; the no-action threshold suppresses the rest."""


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
    background: int = 0
    """Number of background windows, in which no action happens."""
    background_reported: float | None = None
    """Share of them that reach the no-action threshold; None without any."""
    right_reported: float | None = None
    """Share of the rightly decided clips that reach it; None without labels or background."""
    teacher_agreement: float | None = None
    """Share of clips with the class that the teacher predicts; None without a teacher."""
    trained_on: bool = False
    """Whether the model was trained on the clips, so that only their agreement is judged."""

    def __bool__(self) -> bool:
        return not self.reasons

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """95 % interval of the agreement on all clips like these."""
        return wilson_interval(self.agreement, self.clips)

    def __str__(self) -> str:
        low, high = self.agreement_interval
        figures = f"agreement {100 * self.agreement:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        if self.teacher_agreement is not None:
            figures += f", with the teacher {100 * self.teacher_agreement:.1f} %"
        if self.top1 is not None and self.top1_loss is not None:
            figures += f", top-1 {100 * self.top1:.1f} % (loss {100 * self.top1_loss:.1f} points)"

        if self.background_reported is not None:
            figures += (
                f", background reported {100 * self.background_reported:.1f} % of"
                f" {self.background} windows"
            )

        result = "passes" if self else "FAILS: " + "; ".join(self.reasons)
        kind = "training" if self.trained_on else "held-out"
        clips = f"{self.clips} {kind} clips ({self.engine})"
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


def wilson_interval(share: float, clips: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of all clips like these (E. B. Wilson, 1927).

    It stays within [0, 1], where the normal interval of 100 % has no width.
    """
    n, z = max(clips, 1), 1.96
    middle = share + z * z / (2 * n)
    half = z * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
