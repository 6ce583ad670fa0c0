"""The part of `gasmcast plan` about one machine: which model serves a number of cameras."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gasmcast.errors import UsageError

if TYPE_CHECKING:
    from gasmcast.plan.one_machine import Candidate, MachinePlan

__all__ = ["answer_machine"]


def answer_machine(
    cameras: int | None,
    hop_s: float | None,
    bundle: Path | None,
    device: str | None,
    *,
    as_json: bool,
) -> None:
    """Print which model serves the cameras, on this machine or on one of the table.

    Args:
        cameras: number of cameras.
        hop_s: seconds between two decisions of a camera.
        bundle: measure this bundle here, instead of estimating the presets.
        device: machine of the table, instead of this one.
        as_json: print JSON.

    Raises:
        UsageError: options that do not fit together, no such device, or a hop that is no multiple
            of the segments.
    """
    from gasmcast.plan.one_machine import plan_machine

    if cameras is None or hop_s is None:
        raise UsageError(
            "A plan of one machine needs --cameras and --hop.",
            "For example: gasmcast plan --cameras 8 --hop 0.5",
        )
    if bundle is not None and device is not None:
        raise UsageError(
            "--bundle is measured on this machine, and --device is another one.", "Give one."
        )

    if bundle is not None:
        candidates = _measure_bundle(bundle, cameras)
        origin = f"{bundle}, measured on this machine now"
    elif device is not None:
        candidates, origin = _of_table(device)
    else:
        candidates, origin = _estimate_here()
    for candidate in candidates:
        segments = hop_s / candidate.segment_s
        if round(segments) < 1 or abs(segments - round(segments)) > 1e-6:
            raise UsageError(
                f"--hop {hop_s:g} is no multiple of a segment, which is {candidate.segment_s:g} s.",
                f"Give {candidate.segment_s * max(1, round(segments)):g}.",
            )

    plan = plan_machine(cameras, hop_s, candidates)
    if as_json:
        typer.echo(json.dumps(_to_json(plan, origin), indent=1))
    else:
        _print(plan, origin)


def _measure_bundle(path: Path, cameras: int) -> list[Candidate]:
    """Measure every precision of a bundle that runs here, with engines for that many cameras."""
    from gasmcast.plan.one_machine import Candidate
    from gasmcast.precision import in_bf16
    from gasmcast.runtime.bundle import Bundle
    from gasmcast.runtime.capacity import fit
    from gasmcast.runtime.engines import choose_backend, missing_bf16
    from gasmcast.runtime.live_settings import LiveConfig
    from gasmcast.runtime.streaming_model import open_model

    bundle = Bundle.open(path, verify=False)
    bundle.best_precision("auto")  # raises if nothing streams
    backend, _ = choose_backend("auto")
    no_bf16 = bool(missing_bf16(backend))
    found = []
    for precision in bundle.precisions():
        # OpenVINO computes FP16 in FP32 on a CPU, so that row would only repeat another.
        if (in_bf16(precision) and no_bf16) or (backend == "openvino" and "fp16" in precision):
            continue
        typer.echo(f"measuring {precision} ...", err=True)
        opened = open_model(path, "auto", precision, verify=False)
        cost = fit(opened, LiveConfig(), cameras).capacity
        found.append(
            Candidate(
                path.name,
                precision,
                1000 * cost.encode_cost_s,
                1000 * cost.fuse_cost_s,
                bundle.manifest.spec.segment_s,
            )
        )
    return found


def _of_table(device: str) -> tuple[list[Candidate], str]:
    """Return the presets as they were measured on a machine of the table."""
    from gasmcast.plan.machines import MACHINES

    machine = MACHINES.get(device)
    if machine is None:
        raise UsageError(
            f"--device {device}: no such machine was measured.",
            f"Measured machines: {', '.join(MACHINES)}. Or leave it out to measure this one.",
        )
    return machine.candidates(), f"{machine.text} ({machine.source})"


def _estimate_here() -> tuple[list[Candidate], str]:
    """Measure the peak of this machine, and scale the presets' costs on a measured machine."""
    from gasmcast.plan.machines import MACHINES
    from gasmcast.runtime.bench.process import measure_once
    from gasmcast.runtime.bench.task import Task

    typer.echo("measuring the peak of this machine ...", err=True)
    rates = measure_once(Task("peak", "", "fp32"))["macs_per_s"]
    peak = {precision: float(rates[precision]) / 1e9 for precision in ("fp32", "int8")}

    # What a layer reaches of the peak depends on the kind of processor: on what INT8 gains there.
    def unlike(name: str) -> float:
        known = MACHINES[name].peak
        return abs(known["int8"] / known["fp32"] - peak["int8"] / peak["fp32"])

    name = min(MACHINES, key=unlike)
    origin = (
        f"estimated for this machine from its measured peak, {peak['int8']:.0f} G INT8 "
        f"multiply-adds/s, and from the costs on {name} ({MACHINES[name].peak['int8']:.0f} G)"
    )
    return MACHINES[name].candidates(peak), origin


def _to_json(plan: MachinePlan, origin: str) -> dict[str, object]:
    return {
        "cameras": plan.cameras,
        "hop_s": plan.hop_s,
        "origin": origin,
        "answer": plan.sentence(),
        "chosen": None if plan.chosen is None else asdict(plan.chosen),
        "candidates": [
            {
                **asdict(candidate),
                "cameras": plan.served(candidate),
                "arithmetic": plan.arithmetic(candidate),
                "change": plan.change(candidate),
            }
            for candidate in plan.candidates
        ],
    }


def _print(plan: MachinePlan, origin: str) -> None:
    typer.echo(plan.sentence())
    typer.echo(f"Costs: {origin}.")
    for candidate in plan.candidates:
        change = plan.change(candidate)
        typer.echo(
            f"  {candidate.model:8} {candidate.precision:10} {plan.served(candidate):4} cameras: "
            f"{plan.arithmetic(candidate)}" + (f"; it would take {change}" if change else "")
        )
