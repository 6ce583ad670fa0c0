"""Parity: the same feeds through the origin and through each engine, compared tensor by tensor and clip by clip.

A result is truthy when it passes and prints its figures; the report of a bundle says which component broke first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.metrics import hits

__all__ = ["Comparison", "ParityReport", "Tolerance", "compare", "compare_logits"]

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Tolerance:
    """What an engine may differ by: `error` relative to the tensor's largest value, `cosine` of the worst clip.

    `stray` is the share of values that may be further off. It is 0 but behind a choice: of two edges that rank alike in the k-th place,
    rounding decides, and the node behind them then has other values, all of them right.
    """

    error: float = 1e-3
    cosine: float = 0.9999
    top1: float = 1.0
    stray: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """One tensor of one component on one engine against the origin."""

    component: str
    tensor: str
    engine: str
    clips: int
    max_error: float
    mean_error: float
    scale: float
    """Largest absolute value of the origin: what `max_error` is measured by."""
    cosine: float
    """Of the worst clip."""
    snr_db: float
    worst: tuple[int, ...]
    """Clips with the largest error, worst first."""
    top1: float | None = None
    top5: float | None = None
    stray: float = 0.0
    """Share of the values whose error is out of tolerance."""
    tolerance: Tolerance = field(default=Tolerance())

    @property
    def why(self) -> str:
        """What is out of tolerance; empty when it passes."""
        if not np.isfinite(self.max_error):
            return "values that are not numbers"
        relative = self.max_error / max(self.scale, 1e-12)
        if relative > self.tolerance.error and self.stray > self.tolerance.stray:
            most = (
                f" on {self.stray:.1e} of the values, {self.tolerance.stray:.0e} allowed"
                if self.tolerance.stray
                else ""
            )
            return f"error {relative:.1e} of the largest value, {self.tolerance.error:.0e} allowed{most}"
        if self.cosine < self.tolerance.cosine:
            return (
                f"cosine {self.cosine:.6f} on clip {self.worst[0]}, {self.tolerance.cosine} wanted"
            )
        if self.top1 is not None and self.top1 < self.tolerance.top1:
            return f"top-1 agrees on {100 * self.top1:.1f} % of {self.clips} clips, {100 * self.tolerance.top1:.0f} % wanted"
        return ""

    def __bool__(self) -> bool:
        return not self.why

    def __str__(self) -> str:
        agree = "" if self.top1 is None else f", top-1 {100 * self.top1:.1f} %"
        verdict = "ok" if self else f"FAILS: {self.why}"
        return (
            f"{self.component}.{self.tensor} on {self.engine}: max {self.max_error:.2e}, mean {self.mean_error:.2e}, "
            f"cosine {self.cosine:.6f}, SNR {self.snr_db:.1f} dB{agree}: {verdict}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report."""
        return {
            "component": self.component, "tensor": self.tensor, "engine": self.engine, "clips": self.clips, "max_error": self.max_error,
            "mean_error": self.mean_error, "scale": self.scale, "cosine": self.cosine, "snr_db": self.snr_db, "top1": self.top1,
            "top5": self.top5, "worst": list(self.worst), "stray": self.stray, "passed": bool(self), "why": self.why,
        }  # fmt: skip


@dataclass(frozen=True)
class ParityReport:
    """All comparisons of one precision; truthy when every one passes."""

    comparisons: tuple[Comparison, ...]
    streamed: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    """By engine, what encoder and head gave one after the other: `semantic`, `motion`, `logits (N, classes)`."""

    def __bool__(self) -> bool:
        return all(self.comparisons)

    @property
    def broken(self) -> Comparison | None:
        """The first comparison that fails, in the order of the data's flow: the component to look at."""
        return next((c for c in self.comparisons if not c), None)

    def __str__(self) -> str:
        broken = self.broken
        if broken is None:
            return f"parity holds: {len(self.comparisons)} comparisons, worst SNR {min(c.snr_db for c in self.comparisons):.1f} dB"
        return f"parity broken by the {broken.component}: {broken}"

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report."""
        return {"passed": bool(self), "comparisons": [c.to_json() for c in self.comparisons]}


def compare(
    component: str,
    tensor: str,
    engine: str,
    origin: Array,
    other: Array,
    *,
    tolerance: Tolerance | None = None,
) -> Comparison:
    """Compare `(N, ...)` values of N clips."""
    tolerance = tolerance or Tolerance()
    a = np.asarray(origin, np.float64).reshape(len(origin), -1)
    b = np.asarray(other, np.float64).reshape(len(other), -1)
    difference = np.abs(a - b)
    difference[~np.isfinite(difference)] = np.inf
    by_clip = difference.max(1)
    b = np.nan_to_num(b, nan=0.0, posinf=0.0, neginf=0.0)  # counted already, as an infinite error
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    # Two clips of zeros agree.
    cosines = np.where(norms > 0, (a * b).sum(1) / np.maximum(norms, 1e-300), 1.0 * (by_clip == 0))
    signal, noise = float((a**2).mean()), float((difference**2).mean())
    scale = float(np.abs(a).max())
    stray = float((difference > tolerance.error * max(scale, 1e-12)).mean())
    snr = 10 * np.log10(max(signal, 1e-300) / max(noise, 1e-300)) if np.isfinite(noise) else -np.inf
    return Comparison(
        component, tensor, engine, len(a), float(by_clip.max()), float(difference.mean()), scale,
        float(np.nan_to_num(cosines, nan=-1.0).min()), float(min(snr, 200.0)), tuple(int(i) for i in by_clip.argsort()[::-1][:5]),
        stray=stray, tolerance=tolerance,
    )  # fmt: skip


def compare_logits(
    component: str, engine: str, origin: Array, other: Array, *, tolerance: Tolerance | None = None
) -> Comparison:
    """Compare `(N, classes)` logits: the figures of `compare`, and whether the origin's class is first and among the first five.

    Of two classes that the origin itself holds within the tolerated error of each other, either counts as agreement.
    """
    tolerance = tolerance or Tolerance()
    base = compare(component, "logits", engine, origin, other, tolerance=tolerance)
    origin, other = np.asarray(origin, np.float64), np.asarray(other, np.float64)
    rows = np.arange(len(origin))
    slack = tolerance.error * base.scale
    near = origin[rows, other.argmax(1)] >= origin.max(1) - slack
    first = near & np.isfinite(other).all(1)
    five = hits(other, origin.argmax(1), min(5, origin.shape[1])) | first
    values = {**base.__dict__, "top1": float(first.mean()), "top5": float(five.mean())}
    return Comparison(**values)
