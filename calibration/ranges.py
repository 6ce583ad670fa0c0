"""Activation statistics over calibration segments: ranges, percentiles, outlier channels; streamed, one segment at a time.

Memory is bounded by the tensors of one run plus 2048 counters and 512 sample rows a tensor, whatever the number of clips: histograms
grow their range by doubling (neighboring bins merge), so nothing is kept to be binned later, which is where the usual calibrators
spend gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from gasmcast.calibration.policy import Candidate
from gasmcast.errors import UsageError
from gasmcast.runtime.engines.onnxruntime import open_session

__all__ = ["BINS", "Method", "TensorStats", "collect", "threshold"]

BINS = 2048
Method = Literal["max", "entropy", "percentile"]
Feeds = Mapping[str, NDArray[Any]]
ROWS = 512
"""Sample rows kept of a tensor; when they are full every second one goes and half as many a run are added."""
_SAMPLED = 1 << 16  # values of a tensor and run that enter its histogram; ranges see all of them


class TensorStats:
    """What one tensor was seen to hold."""

    def __init__(self, name: str, channels: int, rows: int = 0) -> None:
        self.name = name
        self.channels = channels  # channel axis
        self.runs = 0
        self.low = np.inf
        self.high = -np.inf
        self.channel_top: NDArray[np.float32] = np.zeros(
            0, np.float32
        )  # (channels,) largest absolute value
        self.counts = np.zeros(BINS, np.int64)  # of |x| in [0, limit)
        self.limit = 0.0
        self.rows_a_run = rows
        self.rows: list[NDArray[np.float32]] = []  # samples of (rows, channels)

    @property
    def top(self) -> float:
        """Largest absolute value."""
        return float(max(abs(self.low), abs(self.high))) if self.runs else 0.0

    def update(self, x: NDArray[np.float32]) -> None:
        """One more run's values.

        Raises:
            UsageError: not a number, or infinite.
        """
        axis = self.channels % x.ndim
        others = tuple(i for i in range(x.ndim) if i != axis)
        high, low = x.max(axis=others), x.min(axis=others)
        if not (np.isfinite(high).all() and np.isfinite(low).all()):
            raise UsageError(
                f"Tensor {self.name} holds values that are not numbers on a calibration clip.",
                "Check the checkpoint (did training diverge?) and leave the clip out.",
            )
        top = np.maximum(np.abs(high), np.abs(low))
        self.channel_top = top if not self.runs else np.maximum(self.channel_top, top)
        self.low, self.high = min(self.low, float(low.min())), max(self.high, float(high.max()))
        self.runs += 1
        self._count(x, float(top.max()))
        if self.rows_a_run:
            self._sample(np.moveaxis(x, axis, -1))

    def _sample(self, x: NDArray[np.float32]) -> None:
        places = int(np.prod(x.shape[:-1]))
        # Not evenly: a step that divides the width would walk down one column of the picture.
        at = np.random.default_rng(self.runs).integers(places, size=min(self.rows_a_run, places))
        self.rows.append(x[np.unravel_index(at, x.shape[:-1])])
        if sum(map(len, self.rows)) > ROWS:
            self.rows = [np.concatenate(self.rows)[::2]]
            self.rows_a_run = max(1, self.rows_a_run // 2)

    def _count(self, x: NDArray[np.float32], top: float) -> None:
        if top <= 0:
            self.counts[0] += min(x.size, _SAMPLED)
            return
        if self.limit == 0:
            self.limit = top * 1.0001
        while top >= self.limit:  # double the range: pairs of bins become one
            self.counts = np.concatenate(
                [self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)]
            )
            self.limit *= 2
        flat = x.reshape(-1)
        # An odd stride walks through all channels even where their number is a power of two.
        step = max(1, flat.size // _SAMPLED) | 1
        bins = (np.abs(flat[::step]) * (BINS / self.limit)).astype(np.int64)
        self.counts += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)

    def percentile(self, share: float) -> float:
        """The absolute value below which `share` (0..1) of the values lie, to a bin's width."""
        cumulative = np.cumsum(self.counts)
        if not cumulative[-1] or not self.limit:
            return 0.0
        index = int(np.searchsorted(cumulative, share * cumulative[-1]))
        return min((index + 1) * self.limit / BINS, self.top)

    @property
    def outlier_ratio(self) -> float:
        """Largest channel over the median channel: how much of INT8's range the ordinary channels lose."""
        if not self.channel_top.size or self.top == 0:
            return 1.0
        return float(
            self.channel_top.max() / max(float(np.median(self.channel_top)), self.top * 1e-6)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report."""
        worst = np.argsort(self.channel_top)[::-1][:5]
        return {
            "tensor": self.name, "low": self.low, "high": self.high, "p50": self.percentile(0.5), "p99": self.percentile(0.99),
            "p9999": self.percentile(0.9999), "outlier_ratio": self.outlier_ratio, "channels": int(self.channel_top.size),
            "outlier_channels": [int(i) for i in worst if self.channel_top[i] > 8 * np.median(self.channel_top)],
        }  # fmt: skip


@dataclass(frozen=True)
class _Tap:
    tensor: str
    axis: int


def collect(
    model: ModelProto,
    chosen: Sequence[Candidate],
    feeds: Iterable[Feeds],
    *,
    rows: int = 0,
    each: Callable[[int], None] | None = None,
    keep: Callable[[int, dict[str, NDArray[Any]]], None] | None = None,
    threads: int = 0,
) -> dict[str, TensorStats]:
    """Run the FP32 graph over `feeds` and watch the activations that the `chosen` operators read.

    Args:
        model: the graph.
        chosen: operators whose inputs are watched.
        feeds: one dictionary of inputs a run; consumed once, nothing of it is kept.
        rows: sample rows to take of each tensor and run, for `smooth` and `correct_biases`; at most `ROWS` are kept.
        each: called with the number of runs done.
        keep: called with the run's index and the graph's own outputs (the head is calibrated on what the encoder gave).
        threads: of ONNX Runtime; 0: all.

    Returns:
        tensor name -> statistics.

    Raises:
        UsageError: no feeds, or values that are not numbers (the tensor is named).
    """
    taps: dict[str, _Tap] = {}
    for c in chosen:
        taps.setdefault(c.activation, _Tap(c.activation, c.channels))
    watched = ModelProto()
    watched.CopyFrom(model)
    own = [v.name for v in model.graph.output]
    given = {v.name for v in model.graph.input}
    extra = [name for name in taps if name not in own and name not in given]
    watched.graph.output.extend(_value(name) for name in extra)
    # Memory patterns would keep every tapped tensor alive between runs.
    session = open_session(
        watched.SerializeToString(), threads=threads, spinning=False, memory_pattern=False
    )
    del watched
    stats = {name: TensorStats(name, tap.axis, rows) for name, tap in taps.items()}
    runs = 0
    for runs, feed in enumerate(feeds, start=1):
        values = dict(zip([*own, *extra], session.run([*own, *extra], dict(feed)), strict=True))
        for name, stat in stats.items():
            stat.update(np.asarray(feed[name] if name in given else values[name], np.float32))
        if keep is not None:
            keep(runs - 1, {name: values[name] for name in own})
        if each is not None:
            each(runs)
    if not runs:
        raise UsageError(
            "There are no calibration clips.",
            "Give --data or --calibration with at least one clip.",
        )
    return stats


def _value(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def threshold(stats: TensorStats, method: Method, percentile: float = 0.9999) -> float:
    """The absolute value at which INT8 should saturate; 0 for a tensor that was 0 throughout.

    `max` takes the largest, `percentile` cuts the tail, `entropy` minimizes the Kullback-Leibler divergence between the histogram and
    its INT8 version (S. Migacz, "8-bit inference with TensorRT", 2017).
    """
    if stats.top == 0:
        return 0.0
    match method:
        case "max":
            return stats.top
        case "percentile":
            return stats.percentile(percentile)
        case "entropy":
            return _entropy(stats)


def _entropy(stats: TensorStats, levels: int = 128) -> float:
    counts = stats.counts.astype(np.float64)
    counts[0] = counts[1]  # exact zeros (after ReLU) say nothing about the range
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    if used <= levels:
        return stats.top
    best, where = np.inf, used
    for end in range(levels, used + 1, 8):
        reference = counts[:end].copy()
        reference[-1] += counts[end:].sum()
        # Each of the 128 levels spreads its count over those of its bins that are not empty.
        edges = (np.arange(levels) * end) // levels
        filled = counts[:end] > 0
        sums = np.add.reduceat(counts[:end], edges)
        alive = np.add.reduceat(filled.astype(np.float64), edges)
        width = np.diff(np.append(edges, end))
        spread = np.repeat(sums / np.maximum(alive, 1), width) * filled
        p, q = reference / reference.sum(), spread / max(spread.sum(), 1.0)
        mask = p > 0
        divergence = float(np.sum(p[mask] * np.log(p[mask] / np.maximum(q[mask], 1e-10))))
        if divergence < best:
            best, where = divergence, end
    return float(min((where + 0.5) * stats.limit / BINS, stats.top))
