"""One FP32 graph to INT8: scan for outliers, smooth, collect ranges, correct biases, write Q/DQ; passes stream the segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from gasmcast.calibration.bias import correct_biases
from gasmcast.calibration.policy import Candidate, Policy, candidates
from gasmcast.calibration.qdq import SAFE_LEVELS, insert_qdq
from gasmcast.calibration.ranges import Method, TensorStats, collect, threshold
from gasmcast.calibration.smooth import Smoothed, smooth

__all__ = ["Calibrated", "Recipe", "calibrate", "quantize"]

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Recipe:
    """How a graph is quantized; the defaults are what docs/decisions.md gives the reasons for."""

    method: Method = "max"
    percentile: float = 0.9999
    smoothing: bool = True
    bias_correction: bool = True
    clip_ratio: float = 20.0
    """A tensor whose largest value is above this many times its 99th percentile is clipped at the percentile, with `max` too."""
    scan: int = 16
    """Runs that look for outlier channels, before the ranges of the smoothed graph are collected over all."""
    rows: int = 32
    """Sample rows a tensor and run, on which smoothing and biases are worked out."""


@dataclass(frozen=True)
class Calibrated:
    """A graph that is ready to be quantized, in whole or in part."""

    model: ModelProto
    """FP32, smoothed."""
    found: tuple[Candidate, ...]
    stats: Mapping[str, TensorStats]
    tops: Mapping[str, float]
    smoothed: tuple[Smoothed, ...] = field(default=())

    def quantize(self, policy: Policy, levels: int = SAFE_LEVELS) -> ModelProto:
        """The Q/DQ graph under a policy: cheap, so a search may call it often. `levels`: see `insert_qdq`."""
        chosen = policy.choose(self.found)
        return insert_qdq(
            correct_biases(self.model, chosen, self.stats, self.tops, levels),
            chosen,
            self.tops,
            levels,
        )

    def blocks(self, policy: Policy) -> list[str]:
        """The blocks that the policy quantizes, in graph order."""
        return list(dict.fromkeys(c.block for c in policy.choose(self.found)))


def calibrate(
    model: ModelProto,
    feeds: Callable[[], Iterable[Feeds]],
    recipe: Recipe | None = None,
    policy: Policy | None = None,
    *,
    each: Callable[[int], None] | None = None,
    keep: Callable[[int, dict[str, NDArray[Any]]], None] | None = None,
    threads: int = 0,
) -> Calibrated:
    """Everything that quantizing needs to know of a graph.

    Args:
        model: the FP32 graph.
        feeds: makes a fresh iteration over the calibration segments; it is called twice (scan, ranges).
        recipe: how.
        policy: which operators may become INT8.
        each: called after each run of the long pass, with the count.
        keep: called with index and outputs of each run of the long pass.
        threads: of ONNX Runtime; 0: all.

    Raises:
        UsageError: no segments, or activations that are not numbers.
    """
    recipe, policy = recipe or Recipe(), policy or Policy()
    found = policy.choose(candidates(model.graph, policy.min_weights))
    log: list[Smoothed] = []
    if recipe.smoothing and any(c.kind == "linear" for c in found):
        linears = [c for c in found if c.kind == "linear"]
        scanned = collect(
            model, linears, islice(feeds(), recipe.scan), rows=recipe.rows, threads=threads
        )
        model, log = smooth(model, found, scanned)
        found = policy.choose(candidates(model.graph, policy.min_weights))
    rows = recipe.rows if recipe.bias_correction else 0
    stats = collect(model, found, feeds(), rows=rows, each=each, keep=keep, threads=threads)
    tops = {name: _top(stat, recipe) for name, stat in stats.items()}
    return Calibrated(model, tuple(found), stats, tops, tuple(log))


def _top(stat: TensorStats, recipe: Recipe) -> float:
    top = threshold(stat, recipe.method, recipe.percentile)
    tail = stat.percentile(0.99)
    if recipe.method == "max" and tail > 0 and stat.top > recipe.clip_ratio * tail:
        top = max(stat.percentile(recipe.percentile), tail)
    return float(np.float32(top))


def quantize(
    model: ModelProto,
    feeds: Callable[[], Iterable[Feeds]],
    recipe: Recipe | None = None,
    policy: Policy | None = None,
) -> ModelProto:
    """A graph in INT8 in one call: `calibrate`, then write Q/DQ for all that the policy allows."""
    policy = policy or Policy()
    return calibrate(model, feeds, recipe, policy).quantize(policy)
