"""Compare the graphs of one precision with their reference, tensor by tensor and clip by clip.

A report is truthy when every comparison passes, and names the component that broke first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.comparison import Comparison, Tolerance, compare
from gasmcast.evaluation.metrics import hits

__all__ = ["ParityReport", "compare_logits"]

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ParityReport:
    """All comparisons of one precision; truthy when every one passes."""

    comparisons: tuple[Comparison, ...]
    streamed: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    """Outputs of encoder and head run one after the other, by engine: `semantic`, `motion`,
    `logits (N, classes)`."""

    def __bool__(self) -> bool:
        return all(self.comparisons)

    @property
    def broken(self) -> Comparison | None:
        """The first comparison that fails, in the order of the data flow; None if all pass."""
        return next((c for c in self.comparisons if not c), None)

    def __str__(self) -> str:
        broken = self.broken
        if broken is not None:
            return f"parity broken by the {broken.component}: {broken}"

        worst_db = min(c.snr_db for c in self.comparisons)
        return f"parity holds: {len(self.comparisons)} comparisons, worst SNR {worst_db:.1f} dB"

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report."""
        return {"passed": bool(self), "comparisons": [c.to_json() for c in self.comparisons]}


def compare_logits(
    component: str,
    engine: str,
    reference: Array,
    logits: Array,
    *,
    tolerance: Tolerance | None = None,
) -> Comparison:
    """Compare `(N, classes)` logits with their reference: the figures of `compare`, and top-k.

    `top1` and `top5` are the shares of clips whose reference class is first, or among the first
    five. Of two classes whose reference logits differ by less than the tolerated error, either
    counts as agreement.
    """
    tolerance = tolerance or Tolerance()
    figures = compare(component, "logits", engine, reference, logits, tolerance=tolerance)
    reference, logits = np.asarray(reference, np.float64), np.asarray(logits, np.float64)

    # The chosen class agrees if the reference nearly chooses it too.
    clips = np.arange(len(reference))
    slack = tolerance.error * figures.scale
    near = reference[clips, logits.argmax(1)] >= reference.max(1) - slack
    first = near & np.isfinite(logits).all(1)

    # A model may have fewer than five classes.
    most = min(5, reference.shape[1])
    among_five = hits(logits, reference.argmax(1), most) | first
    return replace(figures, top1=float(first.mean()), top5=float(among_five.mean()))
