"""`gasmcast bench live`: what a decision costs on this machine, done naively and done by the streaming runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gasmcast.runtime.bench import Task

__all__ = ["bench_live"]


def bench_live(
    preset: Annotated[str, typer.Option(help="Measured with random weights: ssv2, edge, seed, demo, or a YAML file.")] = "ssv2",
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="Measure this bundle instead.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if not given.")] = None,
    seconds: Annotated[float, typer.Option(min=2.0, help="How long cameras run for each count that is tried.")] = 8.0,
    most: Annotated[int, typer.Option(min=1, help="Try no more cameras than this.")] = 64,
    naive: Annotated[bool, typer.Option("--naive/--no-naive", help="The PyTorch row; it needs torch.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a decision: naive, whole window, cached; how many cameras in real time; latency and memory.

    Naive is what most demos do: PyTorch eager FP32, the whole window recomputed at every hop.

        gasmcast bench live --preset edge

        gasmcast bench live --bundle model.gasm --json
    """
    import json
    from functools import partial

    from gasmcast.runtime.bench import Task, measure_apart
    from gasmcast.runtime.bundle import Bundle
    from gasmcast.runtime.engines import choose_backend

    choose_backend(engine)  # what is missing is said before minutes of measuring

    def say(text: str) -> None:
        typer.echo(f"  {text} ...", err=True)

    if bundle is None:
        from gasmcast.export.trial import trial_bundle

        bundle = trial_bundle(preset, say)
    opened = Bundle.open(bundle, verify=False)
    precisions = [p for p in ("fp32", "int8", "fp16", "int8_fp16") if p in opened.precisions()]

    def measure(kind: str, precision: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of Task
        task: Task = Task(kind=kind, bundle=str(bundle), precision=precision, engine=engine, threads=threads, **more)  # type: ignore[arg-type]
        return measure_apart(task)

    rows: list[dict[str, Any]] = []
    if naive:
        say("naive: PyTorch eager FP32, whole window")
        rows.append({"name": "naive: PyTorch eager FP32, whole window", **_naive(opened, threads)})
    whole_too = {entry.precision for entry in opened.manifest.files.values() if entry.graph == "complete"}
    for precision in precisions:
        if precision not in whole_too:
            continue
        say(f"whole window, {precision}")
        whole = measure("complete", precision, repeats=3)
        rows.append(
            {"name": f"whole window, {precision}", "ms_per_decision": whole["ms"], "cpu_ms": whole["cpu_ms"], "rss_mb": whole["rss_mb"]}
        )
    batches: dict[str, Any] = {}
    for precision in precisions:
        say(f"cached segments, {precision}")
        cached = measure("cached", precision, batches=(1, 2, 4))
        batches[precision] = cached["batches"]
        one = cached["batches"]["1"]
        rows.append(
            {
                "name": f"cached segments, {precision}",
                "ms_per_decision": one["ms_per_camera"],
                "cpu_ms": one["cpu_ms_per_camera"],
                "encode_ms": one["encode_ms"],
                "fuse_ms": one["fuse_ms"],
                "engine": cached["engine"],
            }
        )
        rows[-1].update(_most_cameras(partial(measure, "cameras", precision, seconds=seconds), most, say))
    _speedups(rows)
    peak = measure("peak", "fp32")["macs_per_s"]
    macs = _encoder_macs(opened)
    reached = {p: round(macs / (batches[p]["1"]["encode_ms"] / 1000) / peak.get(p, peak["fp32"]), 3) for p in precisions} if macs else {}
    result = {
        "bundle": str(bundle),
        "rows": rows,
        "batches": batches,
        "peak_macs_per_s": peak,
        "encoder_macs": macs,
        "encoder_share_of_peak": reached,
    }
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        _print(result)


def _naive(opened: Any, threads: int | None) -> dict[str, float]:  # noqa: ANN401 - a Bundle
    """Medians of the eager model on a window; its weights are random, which costs the same."""
    import time

    import numpy as np
    import torch

    from gasmcast.config import Config, ModelConfig
    from gasmcast.models.model import build_model

    manifest = opened.manifest
    random = {**manifest.model, "semantic_weights": "random", "motion_weights": "random"}
    model = build_model(Config(spec=manifest.spec, model=ModelConfig.model_validate(random))).eval()
    if threads:
        torch.set_num_threads(threads)
    clip = torch.zeros((1, *manifest.spec.clip_shape), dtype=torch.uint8)
    spans = []
    with torch.inference_mode():
        for _ in range(4):
            wall, cpu = time.perf_counter(), time.process_time()
            model(clip)
            spans.append((1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)))
    ms, cpu_ms = np.median(np.array(spans[1:]), axis=0)
    return {"ms_per_decision": round(float(ms), 3), "cpu_ms": round(float(cpu_ms), 3)}


def _most_cameras(run: Callable[..., dict[str, Any]], most: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The largest count of cameras of which none is late; latency and memory of one."""
    found: dict[str, Any] = {"cameras_realtime": 0}
    count, step = 1, 1
    while count <= most:
        say(f"{count} camera{'s' if count > 1 else ''} in real time")
        measured = run(cameras=count)
        if count == 1:
            found |= {"latency_ms": measured["latency_ms"], "rss_mb": measured["rss_running_mb"], "busy": measured["busy"]}
        if not measured["kept_up"]:
            break
        found["cameras_realtime"] = count
        if count > 1:
            found["rss_mb_per_camera"] = round((measured["rss_running_mb"] - found["rss_mb"]) / (count - 1), 1)
        room = 0.9 / max(measured["busy"], 0.01)  # how many times as many might fit
        step = max(1, int(count * (room - 1) / 2))
        count = min(count + step, most) if count < most else most + 1
    return found


def _speedups(rows: list[dict[str, Any]]) -> None:
    naive = next((row["ms_per_decision"] for row in rows if row["name"].startswith("naive")), None)
    whole = {row["name"].rpartition(" ")[2]: row["ms_per_decision"] for row in rows if row["name"].startswith("whole")}
    for row in rows:
        if naive is not None:
            row["speedup_vs_naive"] = round(naive / row["ms_per_decision"], 2)
        window = whole.get(row["name"].rpartition(" ")[2])
        if window is not None:
            row["speedup_vs_window"] = round(window / row["ms_per_decision"], 2)


def _encoder_macs(opened: Any) -> float | None:  # noqa: ANN401 - a Bundle
    """Multiply-adds of one segment through the encoder, from the manifest's own count."""
    macs = (opened.manifest.counts or {}).get("macs", {})
    return float(macs["decision"] - macs["head"]) if macs.get("decision") else None


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="a decision on this machine")
    for title in ("", "ms", "cpu ms", "x naive", "x window", "cameras", "p50 / p95 / p99 ms", "MB"):
        table.add_column(title, justify="left" if not title else "right")
    for row in result["rows"]:
        latency = row.get("latency_ms", {}).get("total", {})
        table.add_row(
            row["name"],
            f"{row['ms_per_decision']:.1f}",
            f"{row['cpu_ms']:.1f}",
            f"{row['speedup_vs_naive']:.1f}" if "speedup_vs_naive" in row else "",
            f"{row['speedup_vs_window']:.1f}" if "speedup_vs_window" in row else "",
            str(row.get("cameras_realtime", "")),
            " / ".join(f"{latency[p]:.0f}" for p in ("p50", "p95", "p99")) if latency else "",
            f"{row['rss_mb']:.0f}" if "rss_mb" in row else "",
        )
    console = Console()
    console.print(table)
    for precision, rows in result["batches"].items():
        costs = ", ".join(f"{batch}: {row['ms_per_camera']:.1f}" for batch, row in rows.items())
        console.print(f"{precision}: ms a camera at batch {costs}")
    peak = result["peak_macs_per_s"]
    shares = ", ".join(f"{p} {100 * share:.0f} %" for p, share in result["encoder_share_of_peak"].items())
    console.print(
        f"peak {peak['fp32'] / 1e9:.0f} G multiply-adds/s in FP32, {peak['int8'] / 1e9:.0f} in INT8; the encoder reaches {shares or '?'}"
    )
    console.print(f"Measured {result['bundle']}. Next: gasmcast live SOURCE --bundle {result['bundle']}")
