"""`gasmcast bench live`: what a decision costs on this machine, done naively and done by the streaming runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["bench_live"]


def bench_live(
    preset: Annotated[
        str,
        typer.Option(
            help="Measured with random weights: ssv2, edge, seed, demo, small-data, or a YAML file."
        ),
    ] = "ssv2",
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-b", help="Measure this bundle instead.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores if not given.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=2.0, help="How long cameras run for each count that is tried.")
    ] = 8.0,
    most: Annotated[
        int, typer.Option(min=1, help="Try no more cameras than this in real time.")
    ] = 64,
    naive: Annotated[
        bool, typer.Option("--naive/--no-naive", help="The PyTorch row; it needs torch.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a decision: naive, whole window, cached; how many cameras in real time; latency and memory.

    Naive is what most demos do: PyTorch eager FP32, the whole window recomputed at every hop. The rows take turns, so that
    what disturbs the machine disturbs all of them.

        gasmcast bench live --preset edge

        gasmcast bench live --bundle model.gasm --json
    """
    import json
    import time

    from gasmcast.commands.bench.printout import print_result
    from gasmcast.commands.bench.rows import measure
    from gasmcast.runtime.engines import choose_backend

    choose_backend(engine)  # what is missing is said before minutes of measuring
    begun = time.monotonic()

    def say(stage: str, done: int = 0, total: int = 0) -> None:  # noqa: ARG001 - steps have no count
        typer.echo(f"{time.monotonic() - begun:5.0f} s  {stage} ...", err=True)

    if bundle is None:
        from gasmcast.export.random_bundle import random_bundle

        bundle = random_bundle(preset, say)
    common: dict[str, Any] = {"bundle": str(bundle), "engine": engine, "threads": threads}
    result = {
        **measure(common, seconds, most, naive, say),
        "took_s": round(time.monotonic() - begun, 1),
    }
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        print_result(result)
