"""Statistics of one activation tensor, updated one run at a time.

Memory does not depend on the number of clips: a tensor has 2048 counters and at most 512 sample
rows. Histograms grow their range by doubling (neighboring bins merge), so no value has to be kept
until the range is known, which costs the usual calibrators gigabytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError

__all__ = ["BINS", "ROWS", "ActivationError", "TensorStats"]

BINS = 2048
"""Bins of a histogram of absolute values."""
ROWS = 512
"""Sample rows kept of a tensor. When they are full, every second one is dropped and half as many
are added from each later run."""
SAMPLED_VALUES = 1 << 16
"""Values of a tensor and run that enter its histogram; the range covers all of them."""
OUTLIER_FACTOR = 8
"""Multiple of the median channel above which a report names a channel as an outlier."""


class ActivationError(UsageError):
    """Raised when activations are not numbers: nothing can be calibrated, FP32 can be exported."""


class TensorStats:
    """Range, histogram, channel maxima and sample rows of one tensor."""

    def __init__(self, name: str, channel_axis: int, rows: int = 0) -> None:
        """Start without data.

        Args:
            name: tensor name.
            channel_axis: axis of the channels; may be negative.
            rows: sample rows to take from each run.
        """
        self.name = name
        self.channel_axis = channel_axis
        self.runs = 0
        self.low = np.inf
        self.high = -np.inf

        # Largest absolute value of each channel, `(channels,)`.
        self.channel_top: NDArray[np.float32] = np.zeros(0, np.float32)

        # Histogram of absolute values in [0, limit).
        self.counts = np.zeros(BINS, np.int64)
        self.limit = 0.0

        # Samples of `(rows, channels)`.
        self.rows_per_run = rows
        self.rows: list[NDArray[np.float32]] = []

    @property
    def top(self) -> float:
        """Largest absolute value."""
        return float(max(abs(self.low), abs(self.high))) if self.runs else 0.0

    @property
    def outlier_ratio(self) -> float:
        """Largest channel over the median channel: the range of INT8 that most channels lose."""
        if not self.channel_top.size or self.top == 0:
            return 1.0
        median = float(np.median(self.channel_top))
        return float(self.channel_top.max() / max(median, self.top * 1e-6))

    def update(self, x: NDArray[np.float32]) -> None:
        """Add the values of one run.

        Raises:
            ActivationError: a value is not a number, or is infinite.
        """
        axis = self.channel_axis % x.ndim
        others = tuple(i for i in range(x.ndim) if i != axis)
        high, low = x.max(axis=others), x.min(axis=others)  # (channels,)
        if not (np.isfinite(high).all() and np.isfinite(low).all()):
            raise ActivationError(
                f"Tensor {self.name} holds values that are not numbers on a calibration clip.",
                "Check the checkpoint (did training diverge?) and leave the clip out.",
            )

        # Symmetric INT8 has one limit for both signs.
        top = np.maximum(np.abs(high), np.abs(low))
        self.channel_top = np.maximum(self.channel_top, top) if self.runs else top
        self.low = min(self.low, float(low.min()))
        self.high = max(self.high, float(high.max()))
        self.runs += 1

        self._count(x, float(top.max()))
        if self.rows_per_run:
            self._sample(np.moveaxis(x, axis, -1))

    def percentile(self, share: float) -> float:
        """Return the absolute value below which `share` (0..1) of the values lie.

        The result is exact to the width of a bin.
        """
        cumulative = np.cumsum(self.counts)
        # A tensor that was always 0 has counts but no range.
        if not cumulative[-1] or not self.limit:
            return 0.0
        index = int(np.searchsorted(cumulative, share * cumulative[-1]))
        return min((index + 1) * self.limit / BINS, self.top)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report."""
        # Five channels are enough to recognize the massive activations of a ViT.
        worst = np.argsort(self.channel_top)[::-1][:5]
        limit = OUTLIER_FACTOR * np.median(self.channel_top)

        return {
            "tensor": self.name,
            "low": self.low,
            "high": self.high,
            "p50": self.percentile(0.5),
            "p99": self.percentile(0.99),
            "p9999": self.percentile(0.9999),
            "outlier_ratio": self.outlier_ratio,
            "channels": int(self.channel_top.size),
            "outlier_channels": [int(i) for i in worst if self.channel_top[i] > limit],
        }

    def _sample(self, x: NDArray[np.float32]) -> None:
        """Keep random rows of `(..., channels)`.

        Rows are not evenly spaced: a step that divides the width would walk down one column of the
        picture.
        """
        places = int(np.prod(x.shape[:-1]))
        rng = np.random.default_rng(self.runs)
        chosen = rng.integers(places, size=min(self.rows_per_run, places))
        self.rows.append(x[np.unravel_index(chosen, x.shape[:-1])])

        # Halving both keeps every run equally represented.
        if sum(map(len, self.rows)) > ROWS:
            self.rows = [np.concatenate(self.rows)[::2]]
            self.rows_per_run = max(1, self.rows_per_run // 2)

    def _count(self, x: NDArray[np.float32], top: float) -> None:
        """Add the values to the histogram, whose range grows to include `top`."""
        # Zeros fit every range, so they do not choose one.
        if top <= 0:
            self.counts[0] += min(x.size, SAMPLED_VALUES)
            return
        if self.limit == 0:
            self.limit = top * 1.0001

        # Doubling the range merges pairs of bins, so that no count is lost.
        while top >= self.limit:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2, np.int64)])
            self.limit *= 2

        # An odd stride visits all channels even if their number is a power of two.
        flat = x.reshape(-1)
        step = max(1, flat.size // SAMPLED_VALUES) | 1
        bins = (np.abs(flat[::step]) * (BINS / self.limit)).astype(np.int64)
        self.counts += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
