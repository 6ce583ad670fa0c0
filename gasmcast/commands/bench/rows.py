"""Rows of `gasmcast bench live` that take turns: naive, whole window, cached segments."""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median
from typing import Any

from gasmcast.progress import Progress
from gasmcast.runtime.bench.process import BenchProcess
from gasmcast.runtime.bench.task import Task

__all__ = ["ROUNDS_S", "Row", "add_speedups", "make_row", "measure_rows"]

_MIN_ROUNDS, _MAX_ROUNDS = 3, 9
ROUNDS_S = 75.0
"""Seconds after which no further round starts."""

Row = dict[str, Any]
"""Figures of one way to decide, as printed and as JSON."""


def measure_rows(
    tasks: dict[str, Task], hop_ms: float, progress: Progress, rounds_s: float = ROUNDS_S
) -> list[Row]:
    """Measure one row per task: medians over rounds in which every row takes one turn.

    Args:
        tasks: name of the row -> what to measure.
        hop_ms: time between two decisions of a camera.
        progress: called when a row is prepared and when a round starts.
        rounds_s: seconds after which no further round starts.
    """
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    with ExitStack() as stack:
        processes = {}
        for name, task in tasks.items():
            progress(name)
            processes[name] = stack.enter_context(_open(task))

        # Slow models get at least the minimum, fast ones as many rounds as fit the time.
        started, rounds = time.monotonic(), 0
        while rounds < _MIN_ROUNDS or (
            rounds < _MAX_ROUNDS and time.monotonic() - started < rounds_s
        ):
            rounds += 1
            progress(f"round {rounds}: every row in turn")
            for name, process in processes.items():
                turns[name].append(process.turn())
    return [make_row(name, task, turns[name], hop_ms) for name, task in tasks.items()]


def _open(task: Task) -> BenchProcess:
    # The naive row needs torch, which the runtime never imports.
    if task.kind == "naive":
        return BenchProcess(task, "gasmcast.commands.bench.naive")
    return BenchProcess(task)


def make_row(name: str, task: Task, turns: list[dict[str, Any]], hop_ms: float) -> Row:
    """Return the row of a task: the median of each turn, and the median of those.

    The number of cameras is an estimate here; it is measured only for cached segments
    (`camera_load.count_cameras`).
    """
    # Medians, because the machine may be busy with other work for a while.
    parts = [key for key, value in turns[0].items() if isinstance(value, list)]
    ms = {part: round(median(median(turn[part]) for turn in turns), 3) for part in parts}

    row: Row = {
        "name": name,
        "kind": task.kind,
        "precision": task.precision,
        "engine": turns[0]["engine"],
        "rounds": len(turns),
    }

    if task.kind == "cached":
        encode_ms, fuse_ms = ms["encode_1"], ms["fuse_1"]
        return {
            **row,
            "ms_per_decision": round(encode_ms + fuse_ms, 3),
            "cpu_ms": round(ms["encode_1_cpu"] + ms["fuse_1_cpu"], 3),
            "encode_ms": encode_ms,
            "fuse_ms": fuse_ms,
            "rss_mb": turns[-1]["rss_mb"],
        }

    return {
        **row,
        "ms_per_decision": ms["ms"],
        "cpu_ms": ms["ms_cpu"],
        "cameras_realtime": int(hop_ms // ms["ms"]),
        "cameras_measured": False,
        "rss_mb": turns[-1]["rss_mb"],
    }


def add_speedups(rows: list[Row]) -> None:
    """Add speedups over the naive row, and over the whole window in the same precision."""
    naive_ms = None
    window_ms = {}
    for row in rows:
        if row["kind"] == "naive":
            naive_ms = row["ms_per_decision"]
        elif row["kind"] == "complete":
            window_ms[row["precision"]] = row["ms_per_decision"]

    # Either may be absent: `--no-naive`, or no complete graph in a precision.
    for row in rows:
        if naive_ms is not None:
            row["speedup_vs_naive"] = round(naive_ms / row["ms_per_decision"], 2)
        if row["kind"] != "naive" and row["precision"] in window_ms:
            speedup = window_ms[row["precision"]] / row["ms_per_decision"]
            row["speedup_vs_window"] = round(speedup, 2)
