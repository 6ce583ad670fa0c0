"""Compare a tensor with its reference: error, cosine, signal-to-noise ratio and worst clips.

Both the parity check of an export and the check of TensorRT engines on a device use it, so it needs
numpy alone. A result is truthy when it is within tolerance, and prints its figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Comparison", "Tolerance", "compare"]

_TINY = 1e-300
"""Smallest divisor, so that tensors of zeros give no division by zero."""
_MAX_SNR_DB = 200.0
"""Reported for equal tensors, whose ratio is infinite."""
_WORST = 5


@dataclass(frozen=True)
class Tolerance:
    """Largest difference that still passes.

    `stray` is above 0 only behind a discrete choice: when two edges of a graph have nearly the same
    score in the k-th place, rounding decides between them. The node behind them then has other
    values, and both results are right.
    """

    error: float = 1e-3
    """Largest absolute error, relative to the largest absolute value of the reference."""
    cosine: float = 0.9999
    """Smallest cosine of a clip."""
    top1: float = 1.0
    """Smallest share of clips whose top-1 class agrees."""
    stray: float = 0.0
    """Share of values that may exceed `error`."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Figures of one tensor of one component on one engine, against its reference."""

    component: str
    tensor: str
    engine: str
    clips: int
    max_error: float
    mean_error: float
    scale: float
    """Largest absolute value of the reference: the unit of `Tolerance.error`."""
    cosine: float
    """Smallest cosine of a clip; 1 for two clips of zeros."""
    snr_db: float
    worst: tuple[int, ...]
    """Indices of the clips with the largest error, worst first."""
    top1: float | None = None
    top5: float | None = None
    stray: float = 0.0
    """Share of values whose error is out of tolerance."""
    tolerance: Tolerance = field(default=Tolerance())

    @property
    def why(self) -> str:
        """The first figure that is out of tolerance, in words; empty when all are within it."""
        limit = self.tolerance
        # In the order in which a reader should look for causes.
        if not np.isfinite(self.max_error):
            return "values that are not numbers"

        relative = self.max_error / max(self.scale, 1e-12)
        if relative > limit.error and self.stray > limit.stray:
            share = (
                f" on {self.stray:.1e} of the values, {limit.stray:.0e} allowed"
                if limit.stray
                else ""
            )
            return f"error {relative:.1e} of the largest value, {limit.error:.0e} allowed{share}"

        if self.cosine < limit.cosine:
            return f"cosine {self.cosine:.6f} on clip {self.worst[0]}, {limit.cosine} wanted"

        if self.top1 is not None and self.top1 < limit.top1:
            share = f"{100 * self.top1:.1f} % of {self.clips} clips"
            return f"top-1 agrees on {share}, {100 * limit.top1:.0f} % wanted"
        return ""

    def __bool__(self) -> bool:
        return not self.why

    def __str__(self) -> str:
        top1 = "" if self.top1 is None else f", top-1 {100 * self.top1:.1f} %"
        result = "ok" if self else f"FAILS: {self.why}"
        return (
            f"{self.component}.{self.tensor} on {self.engine}: max {self.max_error:.2e}, "
            f"mean {self.mean_error:.2e}, cosine {self.cosine:.6f}, SNR {self.snr_db:.1f} dB"
            f"{top1}: {result}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report."""
        return {
            "component": self.component,
            "tensor": self.tensor,
            "engine": self.engine,
            "clips": self.clips,
            "max_error": self.max_error,
            "mean_error": self.mean_error,
            "scale": self.scale,
            "cosine": self.cosine,
            "snr_db": self.snr_db,
            "top1": self.top1,
            "top5": self.top5,
            "worst": list(self.worst),
            "stray": self.stray,
            "passed": bool(self),
            "why": self.why,
        }


def compare(
    component: str,
    tensor: str,
    engine: str,
    reference: NDArray[np.floating[Any]],
    values: NDArray[np.floating[Any]],
    *,
    tolerance: Tolerance | None = None,
) -> Comparison:
    """Compare `(N, ...)` values of N clips with their reference.

    Args:
        component: graph that the tensor belongs to, for messages.
        tensor: name of the tensor, for messages.
        engine: engine that computed `values`, for messages.
        reference: values that are right.
        values: values of the same clips, to be compared.
        tolerance: limits; the defaults of `Tolerance` if None.
    """
    tolerance = tolerance or Tolerance()
    reference = np.asarray(reference, np.float64).reshape(len(reference), -1)  # (N, values)
    other = np.asarray(values, np.float64).reshape(len(values), -1)

    # A value that is not a number counts as an infinite error. It is 0 from here on, so that the
    # cosine of the other values stays readable.
    error = np.abs(reference - other)
    error[~np.isfinite(error)] = np.inf
    error_of_clip = error.max(1)  # (N,)
    other = np.nan_to_num(other, nan=0.0, posinf=0.0, neginf=0.0)

    # The cosine of a clip of zeros is undefined: it agrees only with another clip of zeros.
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    products = (reference * other).sum(1)
    cosines = np.where(norms > 0, products / np.maximum(norms, _TINY), 1.0 * (error_of_clip == 0))

    signal, noise = float((reference**2).mean()), float((error**2).mean())

    # Zeros on both sides give a ratio of 1, equal tensors the largest one.
    ratio = max(signal, _TINY) / max(noise, _TINY)
    snr_db = float(10 * np.log10(ratio)) if np.isfinite(noise) else -np.inf

    # The stray share counts single values, the tolerance is one of the whole tensor.
    scale = float(np.abs(reference).max())
    return Comparison(
        component=component,
        tensor=tensor,
        engine=engine,
        clips=len(reference),
        max_error=float(error_of_clip.max()),
        mean_error=float(error.mean()),
        scale=scale,
        cosine=float(np.nan_to_num(cosines, nan=-1.0).min()),
        snr_db=min(snr_db, _MAX_SNR_DB),
        worst=tuple(int(i) for i in error_of_clip.argsort()[::-1][:_WORST]),
        stray=float((error > tolerance.error * max(scale, 1e-12)).mean()),
        tolerance=tolerance,
    )
