"""Quantize one FP32 graph to INT8.

The steps are: scan for outlier channels, smooth them, collect ranges, correct biases, and write
Q/DQ. The passes over the data hold one segment at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from gasmcast.calibration.bias import correct_biases
from gasmcast.calibration.policy import Candidate, Policy, candidates
from gasmcast.calibration.qdq import ALL_LEVELS, LARGEST_TOP, SAFE_LEVELS, insert_qdq
from gasmcast.calibration.ranges import Method, collect_statistics, threshold
from gasmcast.calibration.smooth import Smoothed, smooth
from gasmcast.calibration.tensor_stats import TensorStats
from gasmcast.progress import Progress, silent

__all__ = ["Calibrated", "Recipe", "collect_ranges", "quantize"]

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Recipe:
    """Settings of quantization.

    docs/decisions/0017-max-with-smoothing.md gives the reasons for the defaults.
    """

    method: Method = "max"
    """Method that chooses where an activation saturates; see `threshold`."""
    percentile: float = 0.9999
    """Share of the values below the saturation of `percentile`, and of clipped tensors."""
    smoothing: bool = True
    """Move outlier channels into the weights."""
    bias_correction: bool = True
    """Correct the mean error of each layer in its bias."""
    clip_ratio: float = 20.0
    """Ratio of the largest value to the 99th percentile above which a tensor is clipped at
    `percentile`, even with `max`."""
    scan: int = 16
    """Runs of the scan for outlier channels, before ranges are collected over all segments."""
    rows: int = 32
    """Sample rows taken of each tensor and run, to choose smoothing and bias corrections."""


@dataclass(frozen=True)
class Calibrated:
    """Graph that is ready to be quantized, in whole or in part."""

    model: ModelProto
    """Smoothed FP32 graph."""
    candidates: tuple[Candidate, ...]
    """Operators that may become INT8."""
    stats: Mapping[str, TensorStats]
    """Statistics by activation tensor."""
    tops: Mapping[str, float]
    """Absolute value at which each activation tensor saturates."""
    smoothed: tuple[Smoothed, ...] = field(default=())
    """Tensors that were smoothed."""
    too_large: Mapping[str, float] = field(default_factory=dict)
    """Largest value by activation tensor or weight that does not fit INT8; the operators that read
    it are not among the candidates."""

    def quantize(self, policy: Policy, levels: int = SAFE_LEVELS) -> ModelProto:
        """Return the Q/DQ graph under a policy; fast enough for a search to call it often.

        Args:
            policy: operators that become INT8.
            levels: range of the weights; see `insert_qdq`.
        """
        chosen = policy.choose(self.candidates)
        corrected = correct_biases(self.model, chosen, self.stats, self.tops, levels)
        return insert_qdq(corrected, chosen, self.tops, levels)

    def blocks(self, policy: Policy) -> list[str]:
        """Return the blocks that the policy quantizes, in graph order."""
        return list(dict.fromkeys(c.block for c in policy.choose(self.candidates)))


def collect_ranges(
    model: ModelProto,
    feeds: Callable[[], Iterable[Feeds]],
    recipe: Recipe | None = None,
    policy: Policy | None = None,
    *,
    progress: Progress = silent,
    stage: str = "collecting ranges",
    total: int = 0,
    keep: Callable[[int, dict[str, NDArray[Any]]], None] | None = None,
    threads: int = 0,
) -> Calibrated:
    """Smooth a graph and collect the activation ranges that quantization needs.

    Args:
        model: the FP32 graph.
        feeds: returns a new iteration over the calibration segments; called once for the scan for
            outliers and once for the ranges.
        recipe: settings; the defaults if None.
        policy: operators that may become INT8.
        progress: reports runs done of the pass for the ranges.
        stage: name of this work in the reports of progress.
        total: number of runs in the reports of progress; 0 if unknown.
        keep: called with the index and the outputs of each run of the pass for the ranges.
        threads: threads of ONNX Runtime; 0 for all cores.

    Returns:
        The smoothed graph with its candidates and their ranges, ready to be quantized.

    Raises:
        UsageError: there are no segments, or activations are not numbers.
    """
    recipe, policy = recipe or Recipe(), policy or Policy()
    chosen = policy.choose(candidates(model.graph, policy.min_weights))

    # Smoothing changes the ranges, so a short scan for outliers comes first.
    linears = [candidate for candidate in chosen if candidate.kind == "linear"]
    smoothed: list[Smoothed] = []
    if recipe.smoothing and linears:
        scan = islice(feeds(), recipe.scan)
        scanned = collect_statistics(model, linears, scan, rows=recipe.rows, threads=threads)
        model, smoothed = smooth(model, chosen, scanned)
        chosen = policy.choose(candidates(model.graph, policy.min_weights))

    stats = collect_statistics(
        model,
        chosen,
        feeds(),
        rows=recipe.rows if recipe.bias_correction else 0,
        progress=progress,
        stage=stage,
        total=total,
        keep=keep,
        threads=threads,
    )
    tops = {name: _saturation(stat, recipe) for name, stat in stats.items()}

    # An operator whose scale FP16 cannot represent stays in high precision, as a constant one does.
    too_large = _too_large(model, chosen, tops)
    fitting = [c for c in chosen if not {c.activation, c.weight} & too_large.keys()]
    return Calibrated(model, tuple(fitting), stats, tops, tuple(smoothed), too_large)


def _too_large(
    model: ModelProto, chosen: Sequence[Candidate], tops: Mapping[str, float]
) -> dict[str, float]:
    """Return the activation tensors and weights that do not fit INT8, with their largest value."""
    largest = {c.activation: tops.get(c.activation, 0.0) for c in chosen}
    weights = {c.weight for c in chosen}
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            weight = np.abs(numpy_helper.to_array(tensor)).max(initial=0.0)
            # The levels of a file for CPUs are fewer, and so is the largest value that they hold.
            largest[tensor.name] = float(weight) * ALL_LEVELS / SAFE_LEVELS
    return {name: top for name, top in largest.items() if not top <= LARGEST_TOP}


def quantize(
    model: ModelProto,
    feeds: Callable[[], Iterable[Feeds]],
    recipe: Recipe | None = None,
    policy: Policy | None = None,
) -> ModelProto:
    """Return a graph in INT8 in one call: collect ranges, then quantize all the policy allows."""
    policy = policy or Policy()
    return collect_ranges(model, feeds, recipe, policy).quantize(policy)


def _saturation(stat: TensorStats, recipe: Recipe) -> float:
    top = threshold(stat, recipe.method, recipe.percentile)

    # A few extreme values would cost all others most of their levels.
    tail = stat.percentile(0.99)
    if recipe.method == "max" and tail > 0 and stat.top > recipe.clip_ratio * tail:
        top = max(stat.percentile(recipe.percentile), tail)
    return float(np.float32(top))
