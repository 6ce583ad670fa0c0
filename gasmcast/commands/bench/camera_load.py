"""Cached segments with several cameras: cost per camera, cameras in real time, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

from gasmcast.commands.bench.rows import Row
from gasmcast.progress import Progress
from gasmcast.runtime.bench.process import BenchProcess, measure_once
from gasmcast.runtime.bench.task import Task

__all__ = [
    "CAMERA_COUNTS",
    "count_cameras",
    "largest_in_time",
    "measure_growth",
    "measure_slowed_cameras",
]

CAMERA_COUNTS = (1, 2, 4, 8)
"""Numbers of cameras for which the cost per camera is measured."""

_HEADROOM = 1.3  # factor over the measured cost at which a camera never waits

Growth = dict[str, dict[str, float]]


def measure_growth(task: Task, progress: Progress) -> Growth:
    """Return the cost of a segment and a window per camera, by number of cameras."""
    progress(f"cost as cameras grow: {', '.join(map(str, task.batches))}")
    with BenchProcess(task) as process:
        turns = [process.turn() for _ in range(2)]

    growth = {}
    for cameras in task.batches:
        encode_ms = median(ms for turn in turns for ms in turn[f"encode_{cameras}"]) / cameras
        fuse_ms = median(ms for turn in turns for ms in turn[f"fuse_{cameras}"]) / cameras
        growth[str(cameras)] = {
            "encode_ms": round(encode_ms, 3),
            "fuse_ms": round(fuse_ms, 3),
            "ms_per_camera": round(encode_ms + fuse_ms, 3),
            "window_ms": round(cameras * (encode_ms + fuse_ms), 3),
        }
    return growth


def count_cameras(
    task: Task, ms_per_camera: float, hop_ms: float, max_cameras: int, progress: Progress
) -> Row:
    """Find the largest number of cameras of which none is late.

    The cost of a camera says where to look: its count is tried first, and the true one is found by
    bisection around it.

    Args:
        task: cameras in one precision.
        ms_per_camera: measured cost of a decision.
        hop_ms: time between two decisions of a camera.
        max_cameras: largest number to try.
        progress: called with each count.

    Returns:
        `cameras_realtime`, `cameras_measured`; latency, memory and load of one camera; and `late`,
        the first count that was too many.
    """
    row: Row = {"cameras_realtime": 0, "cameras_measured": True}

    def keeps_up(count: int) -> bool:
        progress(f"{_cameras(count)} in real time, {task.precision}")
        measured = measure_once(replace(task, cameras=count))
        # One camera is the common case, so its latency and memory are reported.
        if count == 1:
            row["rss_mb"] = measured["rss_mb"]
            row["busy"] = measured["busy"]
            if measured["kept_up"]:
                row["latency_ms"] = measured["latency_ms"]
        if measured["kept_up"]:
            row["cameras_realtime"] = max(count, row["cameras_realtime"])
        else:
            row["late"] = {"cameras": count, "segments": measured["late"]}
        return bool(measured["kept_up"])

    if keeps_up(1) and max_cameras > 1:
        expected = int(hop_ms / max(ms_per_camera, 1e-3))
        largest_in_time(max(2, min(expected, max_cameras)), max_cameras, keeps_up)
    return row


def largest_in_time(expected: int, limit: int, keeps_up: Callable[[int], bool]) -> int:
    """Return the largest count up to `limit` that keeps up; 1 is known to.

    Args:
        expected: where to begin; the steps from there double until the answer is enclosed.
        limit: largest count.
        keeps_up: measures a count.
    """
    low, high = 1, limit + 1  # low keeps up, high does not
    count, step = expected, 1
    while high - low > 1:
        count = min(max(count, low + 1), high - 1)
        if keeps_up(count):
            low, count = count, count + step
        else:
            high, count = count, count - step
        step *= 2

        # Enclosed on both sides: halve what is left.
        if low > 1 and high <= limit:
            count = (low + high) // 2
    return low


def measure_slowed_cameras(
    task: Task, row: Row, growth: Growth, hop_ms: float, progress: Progress
) -> dict[str, Any]:
    """Measure memory of four cameras, and latency of one if it was not served in real time.

    Cameras play so slowly that none is late, also on a machine that cannot keep up.
    """
    figures: dict[str, Any] = {}
    load = _HEADROOM * growth["1"]["ms_per_camera"] / hop_ms  # of one camera, with headroom
    if "latency_ms" not in row:
        slowdown = max(1.0, load)
        progress(f"latency of one camera that plays {slowdown:.1f} times slower than real time")
        measured = measure_once(replace(task, cameras=1, slowdown=slowdown))
        figures["latency_ms"] = measured["latency_ms"]
        figures["latency_at_slower"] = round(slowdown, 2)

    # Two hops are enough: memory is taken when the windows fill.
    slowdown = max(1.0, 4 * load)
    pace = f"{slowdown:.1f} times slower than" if slowdown > 1 else "in"
    progress(f"memory of four cameras, {pace} real time")
    four = replace(task, cameras=4, slowdown=slowdown, seconds=2 * hop_ms / 1000.0)
    rss_mb = measure_once(four)["rss_mb"]
    figures["rss_mb_4_cameras"] = rss_mb
    figures["rss_mb_per_camera"] = round((rss_mb - row["rss_mb"]) / 3, 1)
    return figures


def _cameras(count: int) -> str:
    return f"{count} camera{'s' if count > 1 else ''}"
