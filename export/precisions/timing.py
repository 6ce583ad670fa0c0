"""The precision picker: every precision of every component that passed, timed on this machine; a CPU runs the one that takes least.

A smaller type is not always a faster one, so "INT8 lost to FP16 here" is an ordinary result and is written down. Each is timed where the
gate judged it: OpenVINO for FP32, INT8 and BF16, ONNX Runtime for FP16. FP16, and ONNX Runtime's own FP32 and INT8, are timed to compare.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gasmcast.errors import UsageError
from gasmcast.export.checks.reference_engines import open_arbiter, open_uncached
from gasmcast.precision import in_bf16
from gasmcast.runtime.bundle import fastest_on_cpu
from gasmcast.runtime.engines import Engine, choose_backend
from gasmcast.spec import ClipSpec

__all__ = ["Picked", "Timing", "pick", "time_engine"]

BUDGET_S = 2.0
RUNS = (3, 30)
# Each with what it ought to beat.
_PAIRS = (
    ("int8", "fp32"),
    ("int8", "fp16"),
    ("int8", "bf16"),
    ("int8_bf16", "int8"),
    ("bf16", "fp32"),
    ("int8_fp16", "fp16"),
)


@dataclass(frozen=True)
class Timing:
    """One graph in one precision on one engine."""

    component: str
    precision: str
    engine: str
    median_ms: float
    p90_ms: float
    runs: int
    bytes: int


@dataclass(frozen=True)
class Picked:
    """All timings, the fastest of each component, what each precision takes, which a CPU runs, and sentences for the surprises."""

    timings: tuple[Timing, ...]
    fastest: Mapping[str, Timing]
    total_ms: Mapping[str, float]
    """By precision, all components together; the manifest has it."""
    taken: str | None
    """The precision that a CPU runs: all components in it, which no mix of the fastest can be."""
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report."""
        return {
            "timings": [asdict(t) for t in self.timings],
            "fastest": {
                c: {"precision": t.precision, "engine": t.engine, "median_ms": t.median_ms}
                for c, t in self.fastest.items()
            },
            "total_ms": dict(self.total_ms),
            "taken": self.taken,
            "notes": list(self.notes),
        }


def time_engine(
    engine: Engine, budget_s: float = BUDGET_S, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float, int]:
    """Median and 90th percentile of one call in ms, batch 1, after a warm-up; as many runs as the budget allows, 3 to 30."""
    rng = np.random.default_rng(0)
    feeds = {}
    for name, (shape, dtype) in engine.inputs.items():
        size = tuple(1 if d is None else d for d in shape)
        feeds[name] = (
            rng.integers(0, 256, size).astype(dtype)
            if dtype == np.uint8
            else rng.normal(size=size).astype(dtype)
        )
    engine.run(feeds)
    times: list[float] = []
    started = clock()
    while len(times) < RUNS[0] or (len(times) < RUNS[1] and clock() - started < budget_s):
        before = clock()
        engine.run(feeds)
        times.append(1000 * (clock() - before))
    return float(np.median(times)), float(np.quantile(times, 0.9)), len(times)


def pick(
    graphs: Mapping[str, Mapping[str, Path]],
    spec: ClipSpec,
    threads: int | None = None,
    each: Callable[[str], None] | None = None,
) -> Picked:
    """Time encoder and head (the complete graph where there is no encoder) of every precision.

    Args:
        graphs: precision -> component -> file; only precisions that passed the gate.
        spec: for the note on the time there is: a decision must take less than a segment.
        threads: of the engines.
        each: called with what is being timed.
    """
    timings, unread = [], []
    for precision, parts in graphs.items():
        for component, path in parts.items():
            if component == "complete" and "encoder" in parts:
                continue
            for name, opener in _engines(precision):
                if each is not None:
                    each(f"{component} {precision} on {name}")
                try:
                    engine = opener(path, threads)
                except UsageError as error:  # what was judged elsewhere is not lost to an engine that cannot read it
                    unread.append(f"{component} {precision}: {error.what}")
                    continue
                median, p90, runs = time_engine(engine)
                timings.append(
                    Timing(component, precision, name, median, p90, runs, path.stat().st_size)
                )
    judged = [t for t in timings if t.engine == _engines(t.precision)[0][0]] or timings
    fastest = {
        c: min((t for t in judged if t.component == c), key=_median)
        for c in dict.fromkeys(t.component for t in judged)
    }
    totals = _totals(judged, set(fastest))
    taken = fastest_on_cpu({precision: totals.get(precision) for precision in graphs})
    return Picked(
        tuple(timings),
        fastest,
        totals,
        taken,
        (*unread, *_notes(judged, fastest), *_cost(taken, totals, spec)),
    )


def _median(timing: Timing) -> float:
    return timing.median_ms


def _totals(judged: list[Timing], components: set[str]) -> dict[str, float]:
    by_precision: dict[str, dict[str, float]] = {}
    for t in judged:
        by_precision.setdefault(t.precision, {})[t.component] = t.median_ms
    return {
        precision: sum(parts.values())
        for precision, parts in by_precision.items()
        if set(parts) == components
    }


def _engines(precision: str) -> tuple[tuple[str, Callable[[Path, int | None], Engine]], ...]:
    """The engine that the gate judged this precision on, then others. OpenVINO would compute FP16 files in FP32 on a CPU."""
    if precision.endswith("fp16"):
        return (("onnxruntime", open_arbiter),)
    if in_bf16(precision):
        return (("openvino", partial(open_uncached, bf16=True)),)
    return ("openvino", open_uncached), ("onnxruntime", _plain)


def _plain(path: Path, threads: int | None) -> Engine:
    from gasmcast.runtime.engines.onnxruntime import compile_graph  # noqa: PLC0415 - another engine may be the only one

    return compile_graph(path, threads)


def _notes(timings: list[Timing], fastest: Mapping[str, Timing]) -> list[str]:
    notes = []
    for component, best in fastest.items():
        own = {t.precision: t for t in timings if t.component == component}
        for small, large in _PAIRS:
            if small in own and large in own and own[large].median_ms < own[small].median_ms:
                against = _against(own[small], own[large])
                notes.append(
                    f"{component}: {small.upper()} lost to {large.upper()} here ({against})"
                )
        compared = (
            "; it was timed to compare, `live` does not take it on a CPU"
            if best.precision.endswith("fp16")
            else ""
        )
        notes.append(
            f"{component}: {best.precision} on {best.engine} is the fastest here, {best.median_ms:.1f} ms{compared}"
        )
    if choose_backend("auto")[0] == "tensorrt":
        notes.append(
            "TensorRT is here: `gasmcast engine build`, then measure it with `gasmcast bench live --engine tensorrt`"
        )
    return notes


def _against(one: Timing, other: Timing) -> str:
    if one.engine == other.engine:
        return f"{one.median_ms:.1f} ms against {other.median_ms:.1f} ms"
    return (
        f"{one.median_ms:.1f} ms on {one.engine} against {other.median_ms:.1f} ms on {other.engine}"
    )


def _cost(taken: str | None, totals: Mapping[str, float], spec: ClipSpec) -> list[str]:
    if taken is None or taken not in totals:
        return []
    total, hop = totals[taken], 1000 * spec.segment_s
    return [
        f"a decision in {taken}, which a CPU takes, costs {total:.0f} ms of the {hop:.0f} ms of a segment ({100 * total / hop:.0f} %)"
    ]
