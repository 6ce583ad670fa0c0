"""`gasmcast bench live`: the cost of a decision, naively and with the streaming runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gasmcast.backend import Backend
from gasmcast.commands.model_options import PRESET_NAMES

__all__ = ["bench_live"]

_QUICK_SECONDS = 4.0


def bench_live(
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            help=f"Model with random weights: preset ({PRESET_NAMES}) or YAML file.",
        ),
    ] = "ssv2",
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-b", help="Measure this bundle instead.")
    ] = None,
    engine: Annotated[
        Backend,
        typer.Option("--engine", help="Backend that runs the networks."),
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; all cores by default.")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=2.0, help="Seconds to measure for each number of cameras."),
    ] = 8.0,
    max_cameras: Annotated[
        int,
        typer.Option("--max-cameras", min=1, help="Largest number of cameras to try in real time."),
    ] = 64,
    naive: Annotated[
        bool, typer.Option("--naive/--no-naive", help="Measure the PyTorch row; it needs torch.")
    ] = True,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Two minutes: cached segments and cameras of the fastest precision."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure a decision: naive, whole window, cached; cameras in real time; latency and memory.

    Naive is what most demos do: PyTorch eager FP32, the whole window recomputed at every hop. The
    rows take turns, so that a disturbance of the machine affects all of them.

    Examples:
        gasmcast bench live --preset edge

        gasmcast bench live --bundle model.gasm --quick

        gasmcast bench live --bundle model.gasm --json
    """
    import json
    import time
    from dataclasses import replace

    from gasmcast.commands.bench.decision_cost import measure_decision
    from gasmcast.commands.bench.printout import print_result
    from gasmcast.runtime.bench.task import Task
    from gasmcast.runtime.engines import choose_backend

    choose_backend(engine)  # a missing backend is an error now, not after minutes of measuring
    started = time.monotonic()

    def progress(
        stage: str,
        done: int = 0,  # noqa: ARG001 - only stages are shown
        total: int = 0,  # noqa: ARG001 - only stages are shown
    ) -> None:
        typer.echo(f"{time.monotonic() - started:5.0f} s  {stage} ...", err=True)

    if bundle is None:
        from gasmcast.export.random_bundle import random_bundle

        bundle = random_bundle(preset, progress)
    base = Task(
        "cached", str(bundle), precision="fp32", engine=engine, threads=threads, seconds=seconds
    )
    if quick:
        base = replace(base, seconds=min(seconds, _QUICK_SECONDS))
    figures = measure_decision(
        base, max_cameras=max_cameras, naive=naive, progress=progress, quick=quick
    )
    result = {**figures, "took_s": round(time.monotonic() - started, 1)}
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        print_result(result)
