"""Time every precision that passed the gate on this machine, and pick the fastest for a CPU.

A smaller type is not always faster, so "INT8 lost to FP16 here" is an ordinary result and is
written down. Each precision is timed where the gate judged it: OpenVINO for FP32, INT8 and BF16,
ONNX Runtime for FP16. FP16, and ONNX Runtime's own FP32 and INT8, are timed for comparison.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gasmcast.errors import UsageError
from gasmcast.export.checks.reference_engines import open_reference, open_uncached
from gasmcast.precision import in_bf16
from gasmcast.progress import Progress, silent
from gasmcast.runtime.bundle import fastest_on_cpu
from gasmcast.runtime.engines import Engine
from gasmcast.runtime.engines.random_feeds import random_feeds
from gasmcast.stopwatch import sample_ms

__all__ = ["GraphTiming", "SpeedReport", "time_engine", "time_graphs"]

BUDGET_S = 2.0
MIN_RUNS, MAX_RUNS = 3, 30


@dataclass(frozen=True)
class GraphTiming:
    """Time of one graph in one precision on one engine."""

    component: str
    precision: str
    engine: str
    median_ms: float
    p90_ms: float
    runs: int
    bytes: int
    """Size of the file."""


@dataclass(frozen=True)
class SpeedReport:
    """Timings of all graphs, and the precision that a CPU runs."""

    timings: tuple[GraphTiming, ...]
    fastest: Mapping[str, GraphTiming]
    """Fastest precision of each component, on the engine that the gate judged it on."""
    total_ms: Mapping[str, float]
    """Time of all components together by precision, in ms; the manifest stores it."""
    taken: str | None
    """Precision that a CPU runs: all components in it, which the fastest of each need not be."""
    unread: tuple[str, ...]
    """Graphs that an engine cannot read, each with its reason."""
    notes: tuple[str, ...] = ()
    """Sentences about unexpected results."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report."""
        fastest = {
            component: {
                "precision": timing.precision,
                "engine": timing.engine,
                "median_ms": timing.median_ms,
            }
            for component, timing in self.fastest.items()
        }
        return {
            "timings": [asdict(timing) for timing in self.timings],
            "fastest": fastest,
            "total_ms": dict(self.total_ms),
            "taken": self.taken,
            "notes": [*self.unread, *self.notes],
        }


class CallTime(NamedTuple):
    """Time of one call of an engine."""

    median_ms: float
    p90_ms: float
    runs: int


def time_engine(
    engine: Engine, budget_s: float = BUDGET_S, clock: Callable[[], float] = time.perf_counter
) -> CallTime:
    """Time calls of an engine with batch 1, after a warm-up.

    Args:
        engine: engine to call.
        budget_s: seconds to spend; at least 3 and at most 30 calls are timed.
        clock: monotonic time in seconds.

    Returns:
        Median, 90th percentile and number of the timed calls.
    """
    # The warm-up is not timed: some engines compile kernels on their first call.
    feeds = random_feeds(engine.inputs)
    engine.run(feeds)

    times_ms = sample_ms(lambda: engine.run(feeds), budget_s, (MIN_RUNS, MAX_RUNS), clock)
    return CallTime(float(np.median(times_ms)), float(np.quantile(times_ms, 0.9)), len(times_ms))


def time_graphs(
    graphs: Mapping[str, Mapping[str, Path]],
    *,
    threads: int | None = None,
    progress: Progress = silent,
) -> SpeedReport:
    """Time encoder and head of every precision; the complete graph if there is no encoder.

    Args:
        graphs: precision -> component -> file; only precisions that passed the gate.
        threads: CPU threads of the engines; all cores if None.
        progress: called before each graph.

    Returns:
        The time of each graph on each engine, and the precision that a CPU runs.
    """
    timings: list[GraphTiming] = []
    unread: list[str] = []
    for precision, parts in graphs.items():
        for component, path in parts.items():
            # The runtime never runs the complete graph beside an encoder.
            if component == "complete" and "encoder" in parts:
                continue

            for backend in _backends(precision):
                progress(f"measuring {component} {precision} on {backend.name}")
                try:
                    engine = backend.open_graph(path, threads)
                except UsageError as error:
                    # Another engine has judged the graph, so the export goes on.
                    unread.append(f"{component} {precision}: {error.what}")
                    continue
                call = time_engine(engine)
                timings.append(_timing(component, precision, backend.name, path, call))
    return _summarize(graphs, timings, unread)


def _timing(
    component: str, precision: str, backend: str, path: Path, call: CallTime
) -> GraphTiming:
    return GraphTiming(
        component=component,
        precision=precision,
        engine=backend,
        median_ms=call.median_ms,
        p90_ms=call.p90_ms,
        runs=call.runs,
        bytes=path.stat().st_size,
    )


def judged_timings(timings: Sequence[GraphTiming]) -> list[GraphTiming]:
    """Return the timings on the engines that the gate judges on; all, if there are none."""
    judged = [t for t in timings if t.engine == _backends(t.precision)[0].name]
    return judged or list(timings)


def _summarize(
    precisions: Mapping[str, object], timings: list[GraphTiming], unread: list[str]
) -> SpeedReport:
    # Another engine's time would be that of another rounding.
    judged = judged_timings(timings)
    fastest: dict[str, GraphTiming] = {}
    for timing in judged:
        best = fastest.get(timing.component)
        if best is None or timing.median_ms < best.median_ms:
            fastest[timing.component] = timing

    # A CPU runs all components in one precision.
    totals = _totals(judged, components=set(fastest))
    return SpeedReport(
        timings=tuple(timings),
        fastest=fastest,
        total_ms=totals,
        taken=fastest_on_cpu({precision: totals.get(precision) for precision in precisions}),
        unread=tuple(unread),
    )


def _totals(timings: list[GraphTiming], components: set[str]) -> dict[str, float]:
    """Return the time of all components by precision, where all of them were timed."""
    # A precision that one engine could not read has no total.
    by_precision: dict[str, dict[str, float]] = {}
    for timing in timings:
        by_precision.setdefault(timing.precision, {})[timing.component] = timing.median_ms
    return {
        precision: sum(parts.values())
        for precision, parts in by_precision.items()
        if set(parts) == components
    }


class _Backend(NamedTuple):
    """Library that can run a precision, and how it opens a graph."""

    name: str
    open_graph: Callable[[Path, int | None], Engine]


def _backends(precision: str) -> tuple[_Backend, ...]:
    """Return the backend that the gate judges a precision on, then others for comparison."""
    # OpenVINO would compute FP16 files in FP32 on a CPU.
    if precision.endswith("fp16"):
        return (_Backend("onnxruntime", open_reference),)
    # Only OpenVINO runs FP32 files in BF16.
    if in_bf16(precision):
        return (_Backend("openvino", partial(open_uncached, bf16=True)),)
    # Both can run FP32 and INT8, and a user may choose either.
    return _Backend("openvino", open_uncached), _Backend("onnxruntime", _open_optimized)


def _open_optimized(path: Path, threads: int | None) -> Engine:
    """Open a graph in ONNX Runtime as a user would, with its optimizer."""
    from gasmcast.runtime.engines.onnxruntime import compile_graph  # noqa: PLC0415 - optional

    return compile_graph(path, threads)
