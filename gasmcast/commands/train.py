"""`gasmcast train`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

__all__ = ["train"]


def train(
    preset: str = typer.Argument(
        help="A preset (ssv2, seed, edge, demo, small-data) or a YAML file of settings."
    ),
    data: Path = typer.Option(
        ..., "--data", "-d", help="Folder of a set in Something-Something-V2's format."
    ),
    out: Path = typer.Option(..., "--out", "-o", help="The run folder to write."),
    resume: bool = typer.Option(
        False,
        "--resume",
        help="Go on from the run folder's last whole state; a fresh run where there is none.",
    ),
    cache: Optional[Path] = typer.Option(
        None, help="Folder of `gasmcast cache`: train from its features."
    ),  # noqa: UP045
    settings: Optional[list[str]] = typer.Option(
        None, "--set", help="A setting of gasmcast/config.py, as section.name=value; repeatable."
    ),  # noqa: UP045
    semantic_weights: Optional[str] = typer.Option(
        None, help="File of semantic backbone weights, 'pretrained' or 'random'."
    ),  # noqa: UP045
    motion_weights: Optional[str] = typer.Option(
        None, help="File of motion backbone weights, 'pretrained' or 'random'."
    ),  # noqa: UP045
) -> None:
    """Train a model and leave a run folder: checkpoints, metrics.csv, curves.png, TensorBoard, configuration, environment.

    Runs alone, or on many processes under `accelerate launch` or `torchrun`. SIGTERM writes a checkpoint and ends; so does Ctrl-C,
    with exit code 130.

    Examples:
        gasmcast train demo --data demo-data --out runs/demo

        gasmcast train ssv2 --data ssv2 --out runs/ssv2 --set train.accumulate=8

        accelerate launch --multi_gpu --num_processes 8 -m gasmcast train ssv2 --data ssv2 --out runs/ssv2 --resume
    """
    import os

    from gasmcast.commands.settings import parse_settings, repeat_options
    from gasmcast.training.inputs.fill import open_best

    overrides = parse_settings(
        settings, semantic_weights=semantic_weights, motion_weights=motion_weights
    )
    run = open_best(preset, data, overrides, cache, out)
    first = os.environ.get("RANK", "0") == "0"
    if first:
        for loud in run.warnings:
            typer.secho(loud, fg=typer.colors.YELLOW, bold=True, err=True)
        typer.echo(
            f"{len(run.clips.labels)} training clips, {len(run.validation or [])} validation clips, {len(run.labels)} classes."
        )
    from gasmcast.training.loop import train as run_training
    from gasmcast.training.stacking.folds import gate_first, gate_sentence

    config, stopped = gate_first(run, out, resume=resume)
    if first and not stopped and (said := gate_sentence(config)):
        typer.echo(said)
    summary = (
        {"stopped": stopped}
        if stopped
        else run_training(config, run.clips, run.validation, run.labels, out, resume=resume)
    )
    if not first:
        return
    if summary["stopped"]:
        given = {
            "--cache": cache,
            "--semantic-weights": semantic_weights,
            "--motion-weights": motion_weights,
        }
        typer.echo(
            f"Stopped. Go on with: gasmcast train {preset} --data {data} --out {out}{repeat_options(settings, given)} --resume"
        )
        raise typer.Exit(130 if summary["stopped"] == "SIGINT" else 0)
    if "top1" in summary:
        typer.echo(
            f"Best epoch {int(summary['epoch'])}: top-1 {100 * summary['top1']:.1f} %, top-5 {100 * summary['top5']:.1f} %."
        )
    typer.echo(f"Wrote {out / summary['checkpoint']}. Next: gasmcast eval {out} --data {data}")
