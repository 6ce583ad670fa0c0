"""`gasmcast train`: train a model and write a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gasmcast.commands.data_options import AllowLeak, ContextSeconds, DataFormat, DataSet
from gasmcast.commands.model_options import MotionWeights, Preset, SemanticWeights, Settings

__all__ = ["train"]

TEACHER = "Teacher"
DATA = "Data"


def train(
    preset: Preset,
    data: DataSet,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")],
    folds: Annotated[
        int,
        typer.Option(
            "--folds",
            min=0,
            help="Judge on this number of folds by source first, then train on all clips.",
        ),
    ] = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Resume from the run folder; start a new run if it holds none."
        ),
    ] = False,
    settings: Settings = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            help="Train from the features that `gasmcast cache` wrote into this folder.",
            rich_help_panel=DATA,
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            "--background",
            help="Video or folder in which no action happens, or 'unlabeled': the rest of the"
            " training videos. Learned as none of the classes.",
            rich_help_panel=DATA,
        ),
    ] = None,
    semantic_weights: SemanticWeights = None,
    motion_weights: MotionWeights = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            "--teacher",
            help="Run folder or checkpoint of a larger model to learn from, too.",
            rich_help_panel=TEACHER,
        ),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            "--unlabelled",
            help="Folder of videos without classes, learned from the teacher alone.",
            rich_help_panel=TEACHER,
        ),
    ] = None,
    data_format: DataFormat = None,
    allow_leak: AllowLeak = False,
    context: ContextSeconds = 0.0,
) -> None:
    """Train a model and write a run folder: checkpoints, metrics, curves, TensorBoard, settings.

    Runs alone, or in many processes under `accelerate launch` or `torchrun`. SIGTERM saves the
    state and ends; so does Ctrl-C, with exit code 130.

    Examples:
        gasmcast train demo --data demo-data --out runs/demo

        gasmcast train ssv2 --data ssv2 --out runs/ssv2 --set train.accumulate=8

        gasmcast train small-data --data my-clips --out runs/mine --folds 5

        gasmcast train small-data --data my-clips --out runs/mine --background empty-room

        gasmcast train lite --data ssv2 --out runs/lite --teacher runs/ssv2

        accelerate launch --multi_gpu --num_processes 8 -m gasmcast train ssv2 -d ssv2 -o runs/ssv2
    """
    from gasmcast.api.train import train as train_model
    from gasmcast.commands.data_options import data_options
    from gasmcast.commands.settings import parse_settings, repeat_options

    result = train_model(
        preset,
        data,
        out,
        folds=folds,
        resume=resume,
        cache=cache,
        settings=parse_settings(settings),
        semantic_weights=semantic_weights,
        motion_weights=motion_weights,
        teacher=teacher,
        unlabelled=unlabelled,
        background=background,
        data_format=data_format,
        allow_leak=allow_leak,
        context_s=context,
        progress=lambda stage, *_: typer.echo(stage),
        warn=lambda text: typer.secho(text, fg=typer.colors.YELLOW, bold=True, err=True),
    )

    # Several processes print the result once.
    if not result.is_main:
        return

    # A stopped run repeats the options that resume it.
    if not result:
        options = repeat_options(
            settings,
            {
                "--folds": folds or None,
                "--cache": cache,
                "--semantic-weights": semantic_weights,
                "--motion-weights": motion_weights,
                "--teacher": teacher,
                "--unlabelled": unlabelled,
                "--background": background,
                **data_options(data_format, allow_leak=allow_leak, context_s=context),
            },
        )
        typer.echo(
            f"Stopped. Resume with: gasmcast train {preset} --data {data} --out {out}{options} "
            "--resume"
        )
        raise typer.Exit(130 if result.stopped == "SIGINT" else 0)

    if result.best_epoch is not None or result.out_of_fold_top1 is not None:
        typer.echo(str(result))

    # Without validation clips there is nothing left to evaluate on.
    following = "eval" if result.validation_clips else "export"
    target = "" if result.validation_clips else f" --out {out.name}.gasm"
    typer.echo(f"Wrote {result.checkpoint}. Next: gasmcast {following} {out} --data {data}{target}")
