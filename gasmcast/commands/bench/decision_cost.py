"""Everything that `gasmcast bench live` measures, in order.

Rows that take turns, cost as cameras grow, cameras in real time, the processor's peak, the profile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gasmcast.commands.bench.camera_load import (
    CAMERA_COUNTS,
    count_cameras,
    measure_growth,
    measure_slowed_cameras,
)
from gasmcast.commands.bench.rows import ROUNDS_S, Row, add_speedups, measure_rows
from gasmcast.precision import PRECISIONS, in_bf16, stored_as
from gasmcast.progress import Progress
from gasmcast.runtime.bench.process import measure_once
from gasmcast.runtime.bench.task import Task
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines import choose_backend, missing_bf16

__all__ = ["measure_decision"]


_QUICK_ROUNDS_S = 15.0


def measure_decision(
    base: Task, *, max_cameras: int, naive: bool, progress: Progress, quick: bool = False
) -> dict[str, Any]:
    """Measure the cost of a decision in every precision of a bundle.

    Args:
        base: bundle, engine, threads and `seconds` of every task.
        max_cameras: largest number of cameras to try in real time.
        naive: measure the PyTorch row too.
        progress: called with each step.
        quick: only what two minutes allow: cached segments, few rounds, no peak and no profile.

    Returns:
        JSON-compatible figures; docs/experiments/performance.md explains them.

    Raises:
        UsageError: a bundle without streaming graphs.
    """
    bundle = Bundle.open(base.bundle, verify=False)
    bundle.best_precision(base.engine)  # raises if nothing streams, before minutes of measuring
    backend, _ = choose_backend(base.engine)
    tasks = _tasks(base, bundle, backend, naive=naive and not quick, progress=progress)
    if quick:
        tasks = {name: task for name, task in tasks.items() if task.kind == "cached"}

    # Rows first: the fastest precision of the cached rows is the one to examine further.
    hop_ms = 1000.0 * bundle.manifest.spec.segment_s
    rows = measure_rows(tasks, hop_ms, progress, rounds_s=_QUICK_ROUNDS_S if quick else ROUNDS_S)
    cached = [row for row in rows if row["kind"] == "cached"]
    best = min(cached, key=lambda row: float(row["ms_per_decision"]))
    at_best = replace(base, kind="cached", precision=best["precision"])
    growth = measure_growth(replace(at_best, batches=CAMERA_COUNTS), progress)

    # Cameras in real time take longest, and only the fastest precision and the reference matter.
    counted = [row for row in cached if row is best or (row["precision"] == "fp32" and not quick)]
    for row in cached:
        if row not in counted:
            row.update(_estimated(row, hop_ms))
            continue
        task = replace(base, kind="cameras", precision=row["precision"])
        cost_ms = row["ms_per_decision"]
        row.update(count_cameras(task, cost_ms, hop_ms, max_cameras, progress))
        if row is best:
            row.update(measure_slowed_cameras(task, row, growth, hop_ms, progress))
    add_speedups(rows)

    result = {
        "bundle": base.bundle,
        "rows": rows,
        "growth": {"precision": best["precision"], "cameras": growth},
    }
    # Peak and profile are OpenVINO's own; they say nothing about another backend.
    if backend == "openvino" and not quick:
        result.update(_measure_peak(base, bundle, cached, progress))
        progress(f"profile, {best['precision']}")
        profile = measure_once(replace(at_best, kind="profile"))
        result["profile_ms"] = {
            "precision": best["precision"],
            "encoder": profile["encoder"],
            "head": profile["head"],
        }
    return result


def _estimated(row: Row, hop_ms: float) -> Row:
    """Return the number of cameras by arithmetic, for a row that is not measured with cameras."""
    return {
        "cameras_realtime": int(hop_ms // row["ms_per_decision"]),
        "cameras_measured": False,
    }


def _tasks(
    base: Task, bundle: Bundle, backend: str, *, naive: bool, progress: Progress
) -> dict[str, Task]:
    """Return name -> task of the rows that take turns."""
    no_bf16 = bool(missing_bf16(backend))
    precisions = [
        p for p in PRECISIONS if p in bundle.precisions() and not (no_bf16 and in_bf16(p))
    ]
    # A row must be what its name says.
    if backend == "openvino":
        fp16 = [p for p in precisions if p.endswith("fp16")]
        if fp16:
            progress(f"without {', '.join(fp16)}: OpenVINO computes FP16 in FP32 on a CPU")
        precisions = [p for p in precisions if p not in fp16]

    tasks = {}
    if naive:
        name = "naive: PyTorch eager FP32, whole window"
        tasks[name] = replace(base, kind="naive", precision="fp32")

    complete = {
        entry.precision for entry in bundle.manifest.files.values() if entry.graph == "complete"
    }
    for precision in precisions:
        if stored_as(precision) in complete:
            task = replace(base, kind="complete", precision=precision)
            tasks[f"whole window, {precision}"] = task
    for precision in precisions:
        task = replace(base, kind="cached", precision=precision)
        tasks[f"cached segments, {precision}"] = task
    return tasks


def _measure_peak(
    base: Task, bundle: Bundle, cached: list[Row], progress: Progress
) -> dict[str, Any]:
    """Measure the processor's peak rate, and the share of it that the encoder reaches."""
    progress("the processor's peak")
    peak = measure_once(replace(base, kind="peak", precision="fp32"))
    rates = peak["macs_per_s"]

    macs = _encoder_macs(bundle)
    shares = {}
    if macs is not None:
        for row in cached:
            precision = row["precision"]
            # BF16 of INT8 files runs mostly in INT8, so that is its peak.
            rate = rates.get(precision) or rates.get(stored_as(precision)) or rates["fp32"]
            shares[precision] = round(macs / (row["encode_ms"] / 1000) / rate, 3)
    return {
        "peak_macs_per_s": rates,
        "peak_by_kind": peak["by_kind"],
        "encoder_macs": macs,
        "encoder_share_of_peak": shares,
    }


def _encoder_macs(bundle: Bundle) -> float | None:
    """Return the multiply-adds of one segment through the encoder, as the manifest counts them."""
    # Counts are optional in a manifest.
    macs = (bundle.manifest.counts or {}).get("macs", {})
    return float(macs["decision"] - macs["head"]) if macs.get("decision") else None
