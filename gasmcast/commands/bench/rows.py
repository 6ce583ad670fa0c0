"""What `gasmcast bench live` measures, in order: rows that take turns, cost as cameras grow, service in real time, peak, profile."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

from gasmcast.precision import PRECISIONS, in_bf16, stored_as
from gasmcast.runtime.bench.process import Apart, Task, measure_apart
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines import choose_backend, missing_bf16

__all__ = ["measure"]

_ROUNDS = (3, 9)  # at least and at most
_ROUNDS_S = 75.0  # no further round is begun after this
_GROWTH = (1, 2, 4, 8)  # cameras
_HEADROOM = 1.3  # a camera that is not to wait plays so many times slower than its work takes

Row = dict[str, Any]
Say = Callable[[str], None]


def measure(
    common: dict[str, Any], seconds: float, most: int, naive: bool, say: Say
) -> dict[str, Any]:
    """All of it.

    Args:
        common: `bundle`, `engine` and `threads` of every task.
        seconds: how long cameras run for each count that is tried.
        most: no more cameras than this in real time.
        naive: with the PyTorch row.
        say: told of each step.

    Raises:
        UsageError: a bundle without streaming graphs.
    """
    opened = Bundle.open(common["bundle"], verify=False)
    opened.best_precision(common["engine"])  # raises where nothing streams, before a row is begun
    backend, _ = choose_backend(common["engine"])
    lacking = missing_bf16(backend)
    precisions = [
        p for p in PRECISIONS if p in opened.precisions() and not (lacking and in_bf16(p))
    ]
    if backend == "openvino" and (renamed := [p for p in precisions if p.endswith("fp16")]):
        say(f"without {', '.join(renamed)}: OpenVINO computes FP16 in FP32 on a CPU")
        precisions = [p for p in precisions if p not in renamed]
    whole = {
        entry.precision for entry in opened.manifest.files.values() if entry.graph == "complete"
    }
    tasks = (
        {"naive: PyTorch eager FP32, whole window": Task("naive", precision="fp32", **common)}
        if naive
        else {}
    )
    tasks |= {
        f"whole window, {p}": Task("complete", precision=p, **common)
        for p in precisions
        if stored_as(p) in whole
    }
    tasks |= {f"cached segments, {p}": Task("cached", precision=p, **common) for p in precisions}
    hop_ms = 1000.0 * opened.manifest.spec.segment_s
    rows = _in_turns(tasks, hop_ms, say)
    best = min(
        (row for row in rows if row["kind"] == "cached"),
        key=lambda row: float(row["ms_per_decision"]),
    )
    growth = _growth(Task("cached", precision=best["precision"], batches=_GROWTH, **common), say)
    for row in rows:
        if row["kind"] == "cached":
            task = Task("cameras", precision=row["precision"], seconds=seconds, **common)
            row.update(_service(task, most, say))
            if row is best:
                row.update(_unhurried(task, row, growth, hop_ms, say))
    _speedups(rows)
    result = {
        "bundle": common["bundle"],
        "rows": rows,
        "growth": {"precision": best["precision"], "cameras": growth},
    }
    if backend != "openvino":
        return result
    say("the processor's peak")
    peak = measure_apart(Task("peak", precision="fp32", **common))
    rates = peak["macs_per_s"]
    macs = _encoder_macs(opened)
    reached = {row["precision"]: row for row in rows if row["kind"] == "cached" and macs}
    best_rates = {p: rates.get(p) or rates.get(stored_as(p)) or rates["fp32"] for p in reached}
    shares = {
        p: round((macs or 0.0) / (row["encode_ms"] / 1000) / best_rates[p], 3)
        for p, row in reached.items()
    }
    say(f"profile, {best['precision']}")
    profile = measure_apart(Task("profile", precision=best["precision"], **common))
    return {
        **result,
        "peak_macs_per_s": rates,
        "peak_by_kind": peak["by_kind"],
        "encoder_macs": macs,
        "encoder_share_of_peak": shares,
        "profile_ms": {
            "precision": best["precision"],
            "encoder": profile["encoder"],
            "head": profile["head"],
        },
    }


def _in_turns(tasks: dict[str, Task], hop_ms: float, say: Say) -> list[Row]:
    """A row a task: medians over rounds in which each takes its turn."""
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    with ExitStack() as stack:
        rows = {}
        for name, task in tasks.items():
            say(name)
            module = (
                "gasmcast.commands.bench.naive"
                if task.kind == "naive"
                else "gasmcast.runtime.bench.process"
            )
            rows[name] = stack.enter_context(Apart(task, module))
        begun, number = time.monotonic(), 0
        while number < _ROUNDS[0] or (number < _ROUNDS[1] and time.monotonic() - begun < _ROUNDS_S):
            number += 1
            say(f"round {number}: every row in turn")
            for name, row in rows.items():
                turns[name].append(row.turn())
    return [_row(name, task, turns[name], hop_ms) for name, task in tasks.items()]


def _row(name: str, task: Task, turns: list[dict[str, Any]], hop_ms: float) -> Row:
    """Each turn's median, and the median of those. How many cameras it serves is measured for cached segments only (`_service`)."""
    parts = [key for key in turns[0] if isinstance(turns[0][key], list)]
    ms = {part: round(median(median(turn[part]) for turn in turns), 3) for part in parts}
    row: Row = {
        "name": name,
        "kind": task.kind,
        "precision": task.precision,
        "engine": turns[0]["engine"],
        "rounds": len(turns),
    }
    if task.kind == "cached":
        encode, fuse = ms["encode_1"], ms["fuse_1"]
        cost = {
            "ms_per_decision": round(encode + fuse, 3),
            "cpu_ms": round(ms["encode_1_cpu"] + ms["fuse_1_cpu"], 3),
        }
        return {**row, **cost, "encode_ms": encode, "fuse_ms": fuse}
    cost = {"ms_per_decision": ms["ms"], "cpu_ms": ms["ms_cpu"]}
    return {
        **row,
        **cost,
        "cameras_realtime": int(hop_ms // ms["ms"]),
        "cameras_measured": False,
        "rss_mb": turns[-1]["rss_mb"],
    }


def _growth(task: Task, say: Say) -> dict[str, dict[str, float]]:
    """Cost of a segment and a window a camera, when so many come at once."""
    say(f"cost as cameras grow: {', '.join(map(str, task.batches))}")
    with Apart(task) as apart:
        turns = [apart.turn() for _ in range(2)]
    found = {}
    for cameras in task.batches:
        encode, fuse = (
            median(ms for turn in turns for ms in turn[f"{part}_{cameras}"]) / cameras
            for part in ("encode", "fuse")
        )
        found[str(cameras)] = {
            "encode_ms": round(encode, 3),
            "fuse_ms": round(fuse, 3),
            "ms_per_camera": round(encode + fuse, 3),
            "window_ms": round(cameras * (encode + fuse), 3),
        }
    return found


def _service(task: Task, most: int, say: Say) -> Row:
    """The largest count of cameras of which none is late; latency and memory of one."""
    found: Row = {"cameras_realtime": 0, "cameras_measured": True}
    count = 1
    while count <= most:
        say(f"{_cameras(count)} in real time, {task.precision}")
        measured = measure_apart(_with(task, count))
        if count == 1:
            found |= {"rss_mb": measured["rss_mb"], "busy": measured["busy"]}
            if measured["kept_up"]:
                found["latency_ms"] = measured["latency_ms"]
        if not measured["kept_up"]:
            found["late"] = {"cameras": count, "segments": measured["late"]}
            break
        found["cameras_realtime"] = count
        room = 0.9 / max(measured["busy"], 0.01)  # how many times as many might fit
        step = max(1, int(count * (room - 1) / 2))
        count = min(count + step, most) if count < most else most + 1
    return found


def _unhurried(
    task: Task, row: Row, growth: dict[str, dict[str, float]], hop_ms: float, say: Say
) -> Row:
    """Memory of four cameras, and latency of one that could not be served in real time: they play as slowly as it takes."""
    found: Row = {}
    if "latency_ms" not in row:
        slower = max(1.0, _HEADROOM * growth["1"]["ms_per_camera"] / hop_ms)
        say(f"latency of one camera that plays {slower:.1f} times slower than real time")
        found |= {
            "latency_ms": measure_apart(_with(task, 1, slower))["latency_ms"],
            "latency_at_slower": round(slower, 2),
        }
    slower = max(1.0, _HEADROOM * growth["1"]["ms_per_camera"] * 4 / hop_ms)
    say(
        f"memory of four cameras, {f'{slower:.1f} times slower than' if slower > 1 else 'in'} real time"
    )
    four = measure_apart(_with(task, 4, slower, seconds=2 * hop_ms / 1000.0))["rss_mb"]
    return {
        **found,
        "rss_mb_4_cameras": four,
        "rss_mb_per_camera": round((four - row["rss_mb"]) / 3, 1),
    }


def _with(task: Task, cameras: int, slower: float = 1.0, seconds: float | None = None) -> Task:
    return replace(
        task, cameras=cameras, slower=slower, seconds=task.seconds if seconds is None else seconds
    )


def _cameras(count: int) -> str:
    return f"{count} camera{'s' if count > 1 else ''}"


def _speedups(rows: list[Row]) -> None:
    naive = next((row["ms_per_decision"] for row in rows if row["kind"] == "naive"), None)
    whole = {row["precision"]: row["ms_per_decision"] for row in rows if row["kind"] == "complete"}
    for row in rows:
        if naive is not None:
            row["speedup_vs_naive"] = round(naive / row["ms_per_decision"], 2)
        if row["kind"] != "naive" and row["precision"] in whole:
            row["speedup_vs_window"] = round(whole[row["precision"]] / row["ms_per_decision"], 2)


def _encoder_macs(opened: Bundle) -> float | None:
    """Multiply-adds of one segment through the encoder, from the manifest's own count."""
    macs = (opened.manifest.counts or {}).get("macs", {})
    return float(macs["decision"] - macs["head"]) if macs.get("decision") else None
