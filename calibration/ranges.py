"""Collect activation statistics over calibration segments, and choose where INT8 saturates.

Segments are streamed one at a time, so memory is bounded by the tensors of one run and the
statistics themselves (see `TensorStats`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from gasmcast.calibration.policy import Candidate
from gasmcast.calibration.tensor_stats import BINS, TensorStats
from gasmcast.errors import UsageError
from gasmcast.progress import Progress, silent
from gasmcast.runtime.engines.onnxruntime import open_session

__all__ = ["Method", "collect_statistics", "threshold"]

Method = Literal["max", "entropy", "percentile"]
Feeds = Mapping[str, NDArray[Any]]
LEVELS = 128
"""Absolute values that INT8 can represent."""


def collect_statistics(
    model: ModelProto,
    chosen: Sequence[Candidate],
    feeds: Iterable[Feeds],
    *,
    rows: int = 0,
    progress: Progress = silent,
    stage: str = "collecting ranges",
    total: int = 0,
    keep: Callable[[int, dict[str, NDArray[Any]]], None] | None = None,
    threads: int = 0,
) -> dict[str, TensorStats]:
    """Run the FP32 graph over `feeds` and record the activations that the operators read.

    Args:
        model: the graph.
        chosen: operators whose inputs are recorded.
        feeds: one dictionary of inputs for each run; consumed once, one at a time.
        rows: sample rows to take of each tensor and run, for `smooth` and `correct_biases`.
        progress: reports runs done.
        stage: name of this work in the reports of progress.
        total: number of runs in the reports of progress; 0 if unknown.
        keep: called with the index and the graph's own outputs of each run, because the head is
            calibrated on what the encoder computes.
        threads: threads of ONNX Runtime; 0 for all cores.

    Returns:
        tensor name -> statistics.

    Raises:
        UsageError: there are no feeds, or a tensor holds values that are not numbers.
    """
    axes: dict[str, int] = {}
    for candidate in chosen:
        axes.setdefault(candidate.activation, candidate.activation_axis)
    stats = {name: TensorStats(name, axis, rows) for name, axis in axes.items()}

    # Activations inside the graph become outputs; its inputs can be read from the feeds.
    inputs = {value.name for value in model.graph.input}
    outputs = [value.name for value in model.graph.output]
    inner = [name for name in axes if name not in outputs and name not in inputs]
    session = _open_session(model, inner, threads)
    fetched = [*outputs, *inner]

    runs = 0
    for feed in feeds:
        values = dict(zip(fetched, session.run(fetched, dict(feed)), strict=True))
        for name, stat in stats.items():
            value = feed[name] if name in inputs else values[name]
            stat.update(np.asarray(value, np.float32))

        # Only the outputs of the original graph are the next graph's inputs.
        if keep is not None:
            keep(runs, {name: values[name] for name in outputs})
        runs += 1
        progress(stage, runs, total)

    if not runs:
        raise UsageError(
            "There are no calibration clips.",
            "Give --data or --calibration with at least one clip.",
        )
    return stats


def threshold(stats: TensorStats, method: Method, percentile: float = 0.9999) -> float:
    """Return the absolute value at which INT8 should saturate; 0 for a tensor that is always 0.

    Args:
        stats: statistics of the tensor.
        method: `max` takes the largest value. `percentile` cuts the tail. `entropy` minimizes the
            Kullback-Leibler divergence between the histogram and its INT8 version (S. Migacz,
            "8-bit inference with TensorRT", 2017).
        percentile: share of the values kept by `percentile`.
    """
    if stats.top == 0:
        return 0.0
    match method:
        case "max":
            return stats.top
        case "percentile":
            return stats.percentile(percentile)
        case "entropy":
            return _entropy_threshold(stats)


def _open_session(
    model: ModelProto,
    extra_outputs: Sequence[str],
    threads: int,
) -> Any:  # noqa: ANN401 - the package is untyped
    """Open the graph with more outputs in ONNX Runtime."""
    watched = ModelProto()
    watched.CopyFrom(model)
    for name in extra_outputs:
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        watched.graph.output.append(value)

    # Threads that spin between two runs would slow the decoding of the next clip down, and a memory
    # pattern would allocate all activations of a run in one block.
    return open_session(
        watched.SerializeToString(), threads=threads, spinning=False, memory_pattern=False
    )


def _entropy_threshold(stats: TensorStats) -> float:
    counts = stats.counts.astype(np.float64)
    counts[0] = counts[1]  # exact zeros (after ReLU) say nothing about the range
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    if used <= LEVELS:
        return stats.top

    # Steps of 8 bins are fine enough, and the loop dominates the cost of this method.
    best, best_end = np.inf, used
    for end in range(LEVELS, used + 1, 8):
        divergence = _divergence(counts, end)
        if divergence < best:
            best, best_end = divergence, end
    return float(min((best_end + 0.5) * stats.limit / BINS, stats.top))


def _divergence(counts: NDArray[np.float64], end: int) -> float:
    """Return the KL divergence of a histogram from its version in `LEVELS` levels up to `end`."""
    # Values beyond the end saturate, so they count in the last bin.
    reference = counts[:end].copy()
    reference[-1] += counts[end:].sum()

    # Each level spreads its count over those of its bins that are not empty.
    edges = (np.arange(LEVELS) * end) // LEVELS
    filled = counts[:end] > 0
    level_counts = np.add.reduceat(counts[:end], edges)
    filled_bins = np.add.reduceat(filled.astype(np.float64), edges)
    width = np.diff(np.append(edges, end))
    quantized = np.repeat(level_counts / np.maximum(filled_bins, 1), width) * filled

    p = reference / reference.sum()
    q = quantized / max(quantized.sum(), 1.0)
    mask = p > 0
    return float(np.sum(p[mask] * np.log(p[mask] / np.maximum(q[mask], 1e-10))))
