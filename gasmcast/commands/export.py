"""`gasmcast export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gasmcast.errors import GateError
    from gasmcast.export.plan import ExportResult
    from gasmcast.models.model import GasmCast

__all__ = ["export"]


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A run folder of `gasmcast train`, a checkpoint, or a preset with --random-weights."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write.")] = Path("model.gasm"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="Set in Something-Something-V2's format: train calibrates, validation judges."
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="A set made by `gasmcast calibrate`, in place of --data's train."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="int8, int8_bf16, bf16, fp16, int8_fp16 or all; repeat for several. FP32 always."
        ),
    ] = None,
    calibration_clips: Annotated[
        int, typer.Option(min=4, help="Clips chosen from --data's training split.")
    ] = 64,
    held_out: Annotated[
        int, typer.Option(min=8, help="At most so many validation clips judge.")
    ] = 256,
    method: Annotated[
        str, typer.Option(help="Activation ranges: max, entropy, percentile.")
    ] = "max",
    agreement: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least agreement with FP32, as a share.")
    ] = 0.98,
    top1_loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Largest loss of top-1, as a share.")
    ] = 0.01,
    search: Annotated[
        bool,
        typer.Option(
            "--search/--no-search",
            help="Move the worst blocks back to high precision when INT8 fails.",
        ),
    ] = True,
    sensitivity: Annotated[
        bool, typer.Option(help="Measure every block's loss under INT8 even when the gate holds.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time each precision on this machine.")
    ] = True,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Build engines too: tensorrt or torch-tensorrt (encoder.ep, head.ep beside --out)."
        ),
    ] = None,
    streams: Annotated[int, typer.Option(min=1, help="Cameras at once, for --engine.")] = 4,
    random_weights: Annotated[
        bool, typer.Option(help="Export an untrained preset, to try the machinery.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of clips.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
) -> None:
    """Turn a checkpoint into a verified bundle: ONNX graphs, measured precisions, reports.

    FP32 is compared with torch on ONNX Runtime and OpenVINO; every other precision must pass the accuracy gate on held-out clips, or it is
    not written and the exit code is 4.

        gasmcast export runs/a --out gestures.gasm

        gasmcast export runs/a --out gestures.gasm --data ~/ssv2 --precision int8 --precision fp16

        gasmcast export runs/a --out gestures.gasm --data ~/ssv2 --precision fp16 --engine tensorrt

        gasmcast export ssv2 --random-weights --out try.gasm
    """
    import json
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from gasmcast.calibration.quantize import Recipe
    from gasmcast.commands.clean_exit import clean_end
    from gasmcast.errors import UsageError
    from gasmcast.export.bundle_writer import check_target
    from gasmcast.export.checks.accuracy_gate import GateRecipe
    from gasmcast.export.origin import open_origin
    from gasmcast.export.pipeline import export_bundle
    from gasmcast.export.plan import ExportPlan, left_out, wanted_precisions

    _check_engine(engine)
    if method not in ("max", "entropy", "percentile"):
        raise UsageError(f"No method {method!r}.", "Methods: max, entropy, percentile.")
    wanted = wanted_precisions(precision or [])
    check_target(out)
    origin = open_origin(checkpoint, random_weights, seed)
    if origin.random:
        typer.secho(
            "The weights are RANDOM: this bundle recognizes nothing.",
            fg=typer.colors.YELLOW,
            err=True,
        )
    plan = ExportPlan(
        precisions=wanted,
        left_out=left_out(precision or []),
        calibration_clips=calibration_clips,
        held_out=held_out,
        seed=seed,
        threads=threads,
        recipe=Recipe(method=method),  # type: ignore[arg-type]
        gate=GateRecipe(agreement=agreement, top1_loss=top1_loss),
        search=search,
        sensitivity=sensitivity,
        measure=measure,
    )
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with clean_end("The export"), Progress(*columns, transient=True, console=console) as progress:
        task = progress.add_task("starting", total=None)
        started, last = time.monotonic(), ""

        def say(step: str, done: int, total: int) -> None:
            nonlocal last
            progress.update(task, description=step, completed=done, total=total or None)
            if (
                step != last and not console.is_terminal
            ):  # a log file gets a line a step, where a terminal has the bar
                typer.echo(f"{time.monotonic() - started:6.0f} s  {step}", err=True)
            last = step

        result = export_bundle(origin, out, plan, data=data, calibration=calibration, say=say)
    if as_json:
        verdicts = [v.to_json() for v in result.verdicts]
        typer.echo(
            json.dumps(
                {"bundle": str(out), "verdicts": verdicts, "not_judged": dict(result.not_judged)},
                indent=1,
            )
        )
    else:
        for verdict in result.verdicts:
            typer.echo(str(verdict))
        for name, reason in result.not_judged.items():
            typer.echo(f"{name} was not judged: {reason}.")
        sizes = sum(entry.size for entry in result.manifest.files.values())
        typer.echo(
            f"Wrote {out}: {len(result.manifest.files)} files, {sizes / 1e6:.1f} MB; report.html in it shows what was measured."
        )
        typer.echo(f"Next: gasmcast live 0 --bundle {out}")
    if result.failed:
        raise _failure(result)
    if engine:
        _engines(
            engine, origin.model, out, streams, "fp16" if "fp16" in wanted else "fp32", as_json
        )


def _failure(result: ExportResult) -> GateError:
    """What is said of precisions that did not pass; blocks are only known of one that was searched."""
    from gasmcast.errors import GateError

    first, *_ = result.failed
    names, report = ", ".join(v.precision for v in result.failed), result.path / "report.html"
    searched = first.precision in result.report.get("search", {})
    says = (
        "says which blocks lose; more calibration clips may help"
        if searched
        else "compares it with FP32 part by part"
    )
    return GateError(
        f"{names} did not pass the accuracy gate and is not in {result.path}: {first.reasons[0]}.",
        f"{report} {says}.",
    )


def _check_engine(engine: str | None) -> None:
    from gasmcast.errors import UsageError

    if engine not in (None, "tensorrt", "torch-tensorrt"):
        raise UsageError(
            f"No engine {engine!r} to build.",
            "Engines: tensorrt, torch-tensorrt; the ONNX files serve every other one.",
        )


def _engines(
    engine: str, model: GasmCast, out: Path, streams: int, precision: str, quiet: bool
) -> None:
    if engine == "tensorrt":
        from gasmcast.commands.engine import build

        build(out, streams, quiet=quiet)
    else:
        _compile_with_torch(model, out, streams, precision, quiet)


def _compile_with_torch(
    model: GasmCast, out: Path, streams: int, precision: str, quiet: bool
) -> None:
    from gasmcast.errors import GateError
    from gasmcast.export.tensorrt.torch_tensorrt import compile_graphs

    folder = out.with_name(f"{out.name}.torch-tensorrt")
    done = compile_graphs(
        model,
        folder,
        streams=streams,
        precision=precision,
        each=lambda name: typer.echo(f"compiling {name}", err=True),
    )
    if not quiet:
        for compiled in done:
            typer.echo(str(compiled))
    if not all(done):
        raise GateError(
            f"The programs in {folder} do not give what PyTorch gives.",
            f"Do not use them; the ONNX files in {out} are sound.",
        )
    if not quiet:
        typer.echo(
            f"Wrote {folder}: programs of torch-tensorrt for this machine alone. Load one with torch_tensorrt.load(...).module()."
        )
