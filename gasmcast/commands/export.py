"""`gasmcast export`: turn a checkpoint into a verified bundle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from gasmcast.commands.data_options import AllowLeak, ContextSeconds, DataFormat

if TYPE_CHECKING:
    from gasmcast.errors import GateError
    from gasmcast.export.result import ExportResult
    from gasmcast.precision import Precision

__all__ = ["export"]

GATE = "Accuracy gate"
INT8 = "INT8"
ENGINES = "Engines for this device"
MACHINE = "Machine"


class PrecisionChoice(str, Enum):
    """Values of `--precision`; Typer takes no list of literals."""

    ALL = "all"
    INT8 = "int8"
    INT8_BF16 = "int8_bf16"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8_FP16 = "int8_fp16"
    FP32 = "fp32"


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="Run folder of `gasmcast train`, checkpoint, or preset with --random-weights; "
            "with --triton also a bundle."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Bundle to write.")] = Path("model.gasm"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace a bundle that is in --out already.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            help="Data set in any format: its train calibrates, its validation judges.",
        ),
    ] = None,
    precision: Annotated[
        list[PrecisionChoice] | None,
        typer.Option("--precision", help="Precision beside FP32, repeatable."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration", help="Set of `gasmcast calibrate`, used instead of --data's train."
        ),
    ] = None,
    attention: Annotated[
        bool,
        typer.Option(
            "--attention",
            help="Add attention twins of encoder and head, for `explain` and the web view.",
        ),
    ] = False,
    build_engines: Annotated[
        Literal["tensorrt", "torch-tensorrt"] | None,
        typer.Option(
            "--build-engines",
            help="Also build engines; torch-tensorrt writes encoder.ep and head.ep beside --out.",
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            "--triton",
            help="Also write a model repository of Triton and OpenVINO Model Server; a new folder.",
        ),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Export an untrained preset, as a trial.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
    held_out: Annotated[
        int,
        typer.Option(
            "--held-out",
            min=8,
            help="Largest number of validation clips that judge.",
            rich_help_panel=GATE,
        ),
    ] = 256,
    background: Annotated[
        list[Path] | None,
        typer.Option(
            "--background",
            help="Video or folder of videos without any action, repeatable: they set the no-action"
            " threshold.",
            rich_help_panel=GATE,
        ),
    ] = None,
    agreement: Annotated[
        float,
        typer.Option(
            "--agreement",
            min=0.0,
            max=1.0,
            help="Least agreement with FP32, as a share.",
            rich_help_panel=GATE,
        ),
    ] = 0.98,
    top1_loss: Annotated[
        float,
        typer.Option(
            "--top1-loss",
            min=0.0,
            max=1.0,
            help="Largest loss of top-1, as a share.",
            rich_help_panel=GATE,
        ),
    ] = 0.01,
    calibration_clips: Annotated[
        int,
        typer.Option(
            "--calibration-clips",
            min=4,
            help="Clips to choose from --data's training split.",
            rich_help_panel=INT8,
        ),
    ] = 64,
    method: Annotated[
        Literal["max", "entropy", "percentile"],
        typer.Option("--method", help="Method for activation ranges.", rich_help_panel=INT8),
    ] = "max",
    search: Annotated[
        bool,
        typer.Option(
            "--search/--no-search",
            help="Move the worst blocks back to high precision when INT8 fails.",
            rich_help_panel=INT8,
        ),
    ] = True,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity/--no-sensitivity",
            help="Measure every block's loss under INT8 even when the gate passes.",
            rich_help_panel=INT8,
        ),
    ] = False,
    cameras: Annotated[
        int,
        typer.Option(
            "--cameras",
            min=1,
            help="Cameras at once, for --build-engines.",
            rich_help_panel=ENGINES,
        ),
    ] = 4,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure/--no-measure",
            help="Time each precision on this machine.",
            rich_help_panel=MACHINE,
        ),
    ] = True,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="CPU threads; all cores by default.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option("--seed", help="Seed of the choice of clips.", rich_help_panel=MACHINE),
    ] = 0,
    data_format: DataFormat = None,
    allow_leak: AllowLeak = False,
    context: ContextSeconds = 0.0,
) -> None:
    """Turn a checkpoint into a verified bundle: ONNX graphs, measured precisions, reports.

    FP32 is compared with torch on ONNX Runtime and OpenVINO. Every other precision must pass the
    accuracy gate on held-out clips, or it is not written and the exit code is 4.

    Examples:
        gasmcast export runs/a --out gestures.gasm

        gasmcast export runs/a --out gestures.gasm --data ~/ssv2 --precision int8 --precision fp16

        gasmcast export runs/a --data clips --background empty-room.mp4 --out gestures.gasm

        gasmcast export runs/a --data ~/ssv2 --precision fp16 --build-engines tensorrt

        gasmcast export runs/a --out gestures.gasm --attention

        gasmcast export ssv2 --random-weights --out try.gasm

        gasmcast export gestures.gasm --triton models --precision int8
    """
    import json

    import onnx  # noqa: F401 - a missing package is reported before anything else

    from gasmcast.api.export import build_device_engines
    from gasmcast.api.export import export as export_model
    from gasmcast.commands.clean_exit import clean_end
    from gasmcast.data.set_check import describe_data
    from gasmcast.report.progress_bars import progress_bars

    # A bundle is verified already: only its files are copied.
    if triton is not None and (Path(checkpoint) / "manifest.json").is_file():
        _write_triton(Path(checkpoint), triton, precision)
        return

    if random_weights:
        warning = "The weights are RANDOM: this bundle recognizes nothing."
        typer.secho(warning, fg=typer.colors.YELLOW, err=True)

    # Typer takes no list of literals, the API does.
    precisions = cast(
        "list[Precision | Literal['all']]", [choice.value for choice in precision or ()]
    )

    # Engines are built below, so that the bundle's figures are printed even if that fails.
    with clean_end("The export"), progress_bars() as progress:
        result = export_model(
            checkpoint,
            out,
            data=data,
            precisions=precisions,
            calibration=calibration,
            calibration_clips=calibration_clips,
            held_out=held_out,
            background=background or (),
            method=method,
            agreement=agreement,
            top1_loss=top1_loss,
            search=search,
            sensitivity=sensitivity,
            measure=measure,
            attention=attention,
            random_weights=random_weights,
            threads=threads,
            seed=seed,
            force=force,
            data_format=data_format,
            allow_leak=allow_leak,
            context_s=context,
            progress=progress,
        )

    # The bundle exists even if a precision failed: its figures come before the error.
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        if data is not None:
            typer.echo(describe_data(data))
        typer.echo(str(result))
        typer.echo(f"Next: gasmcast live 0 --bundle {out}")
    if not result:
        raise _gate_error(result)

    # Repository and engines are made from a complete bundle only.
    if triton is not None:
        _write_triton(out, triton, precision, quiet=as_json)
    if build_engines is not None:
        engines = build_device_engines(
            build_engines,
            checkpoint,
            out,
            cameras=cameras,
            fp16=not {"fp16", "all"}.isdisjoint(precisions),
            random_weights=random_weights,
            seed=seed,
            on_engine=lambda engine: None if as_json else typer.echo(str(engine)),
            progress=_print_stage,
        )
        if not as_json:
            typer.echo(_engines_hint(build_engines, len(engines), out))


def _write_triton(
    bundle: Path,
    folder: Path,
    precisions: list[PrecisionChoice] | None,
    *,
    quiet: bool = False,
) -> None:
    """Write a model repository in the first precision that was named."""
    from gasmcast.export.triton_repository import write_repository

    named = [choice.value for choice in precisions or () if choice is not PrecisionChoice.ALL]
    models = write_repository(bundle, folder, named[0] if named else "auto")
    if quiet:
        return
    for model in models:
        typer.echo(f"{folder / model.name}: {model.file} by {model.backend}")
    typer.echo(f"Next: tritonserver --model-repository {folder.absolute()}")


def _print_stage(stage: str, done: int = 0, total: int = 0) -> None:  # noqa: ARG001 - no counts
    typer.echo(stage, err=True)


def _engines_hint(route: str, count: int, bundle: Path) -> str:
    if route == "tensorrt":
        return (
            f"{count} engines are ready. Next: gasmcast live 0 --bundle {bundle} --engine tensorrt"
        )
    return (
        f"Wrote {bundle}.torch-tensorrt: programs of torch-tensorrt for this machine alone. "
        "Load one with torch_tensorrt.load(...).module()."
    )


def _gate_error(result: ExportResult) -> GateError:
    """Return the error for precisions that failed the gate, with the place of the explanation."""
    from gasmcast.errors import GateError

    if not result.failed:
        why = next(iter(result.not_made.values()))
        return GateError(
            f"{', '.join(result.not_made)} could not be made and is not in {result.path}: {why}.",
            f"FP32 is in it. Report the model's configuration with {result.path / 'report.json'}.",
        )

    first = result.failed[0]
    names = ", ".join(verdict.precision for verdict in result.failed)

    # Losses of blocks are known only of a precision that was searched.
    if first.precision in result.report.get("search", {}):
        hint = "says which blocks lose; more calibration clips may help"
    else:
        hint = "compares it with FP32 part by part"
    return GateError(
        f"{names} did not pass the accuracy gate and is not in {result.path}: {first.reasons[0]}.",
        f"{result.path / 'report.html'} {hint}.",
    )
