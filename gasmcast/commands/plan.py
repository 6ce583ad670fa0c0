"""`gasmcast plan`: machines of a fleet, an archive or a training, and one machine's cameras."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.errors import UsageError

if TYPE_CHECKING:
    from gasmcast.plan.archive_cost import ArchivePlan
    from gasmcast.plan.cost_figures import Figure
    from gasmcast.plan.fleet import FleetPlan
    from gasmcast.plan.training_cost import TrainingPlan

__all__ = ["plan"]


@dataclass
class _Plans:
    """Plans that were asked for, and the figures that they rest on."""

    fleet: FleetPlan | None = None
    archive: ArchivePlan | None = None
    training: TrainingPlan | None = None
    figures: dict[str, Figure] = field(default_factory=dict)


def plan(
    cameras: Annotated[
        int | None, typer.Option("--cameras", min=1, help="Cameras of a fleet.")
    ] = None,
    clips: Annotated[
        int | None, typer.Option("--clips", min=1, help="Clips of an archive.")
    ] = None,
    fps: Annotated[
        float, typer.Option("--fps", min=1.0, help="Frames per second of a camera.")
    ] = 25.0,
    clip_s: Annotated[
        float, typer.Option("--clip-s", min=0.1, help="Mean seconds of a clip.")
    ] = 4.0,
    hours: Annotated[
        float, typer.Option("--hours", min=0.1, help="Hours in which an archive must be labeled.")
    ] = 168.0,
    stream_mbit: Annotated[
        float | None, typer.Option("--stream-mbit", min=0.01, help="Mbit/s of a camera.")
    ] = None,
    events_per_hour: Annotated[
        float | None, typer.Option("--events-per-hour", min=0.0, help="Events of a camera.")
    ] = None,
    train_clips: Annotated[
        int | None, typer.Option("--train-clips", min=1, help="Clips of a training set.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs of the training.")] = 40,
    core_clips: Annotated[
        float | None,
        typer.Option(
            "--core-clips",
            min=0.01,
            help="Training clips per second and core, as `gasmcast bench data` measures them.",
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            "--hop",
            min=0.01,
            help="Seconds between decisions: which model serves the cameras on one machine?",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="With --hop: measure this bundle on this machine."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="With --hop: a measured machine, instead of this one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Estimate machines, network and storage, and say what is measured and what is assumed.

    Only --hop measures, for some seconds; docs/scale.md explains the model.

    Examples:
        gasmcast plan --cameras 1000

        gasmcast plan --cameras 8 --hop 0.5

        gasmcast plan --clips 1000000000 --clip-s 4 --hours 168

        gasmcast plan --train-clips 168913 --epochs 40 --core-clips 10
    """
    if hop is not None or bundle is not None or device is not None:
        from gasmcast.commands.plan_machine import answer_machine

        answer_machine(cameras, hop, bundle, device, as_json=as_json)
        return

    from gasmcast.plan.archive_cost import plan_archive
    from gasmcast.plan.cost_figures import FIGURES, TRAINING_FIGURES, with_given
    from gasmcast.plan.fleet import plan_fleet
    from gasmcast.plan.training_cost import plan_training

    # Values of the site replace assumptions; only figures of what was asked for are printed.
    figures = with_given(FIGURES, stream_mbit=stream_mbit, events_per_hour=events_per_hour)
    training_figures = with_given(TRAINING_FIGURES, core_clips_s=core_clips)
    plans = _Plans()
    if cameras is not None:
        plans.fleet = plan_fleet(cameras, fps=fps, figures=figures)
        plans.figures |= figures
    if clips is not None:
        plans.archive = plan_archive(clips, clip_s=clip_s, hours=hours, figures=figures)
        plans.figures |= figures
    if train_clips is not None:
        plans.training = plan_training(train_clips, epochs=epochs, figures=training_figures)
        plans.figures |= training_figures

    if not plans.figures:
        raise UsageError("There is nothing to plan.", "Give --cameras, --clips or --train-clips.")
    if as_json:
        typer.echo(json.dumps(asdict(plans), indent=1))
    else:
        _print(plans)


def _print(plans: _Plans) -> None:
    from gasmcast.plan.cost_figures import BOXES

    if plans.fleet is not None:
        _print_fleet(plans.fleet)
    if plans.archive is not None:
        _print_archive(plans.archive)
    if plans.training is not None:
        _print_training(plans.training)

    typer.echo("\nFrom these figures:")
    for figure in plans.figures.values():
        typer.echo(f"  {figure}")
    if plans.fleet is not None or plans.archive is not None:
        for box in BOXES.values():
            if box.tera_per_s is not None:
                typer.echo(f"  {box.name}: {box.tera_per_s}")


def _print_fleet(fleet: FleetPlan) -> None:
    typer.echo(f"{fleet.cameras} cameras")
    for box in fleet.boxes:
        typer.echo(
            f"  {box.box:22} {box.cameras:5} cameras each, {box.boxes:6} boxes, limited by "
            f"{box.bottleneck}"
        )
    typer.echo(
        f"  frames sent   {fleet.frames_mbit:12,.1f} Mbit/s, {fleet.frames_tb_day:,.2f} TB a day\n"
        f"  decisions     {fleet.decisions_mbit:12,.2f} Mbit/s\n"
        f"  only events   {fleet.events_mbit:12,.4f} Mbit/s, {fleet.events_gb_day:,.3f} GB a day"
    )


def _print_archive(archive: ArchivePlan) -> None:
    typer.echo(
        f"{archive.clips:,} clips of {archive.segments} segments\n"
        f"  {archive.core_hours:,.0f} core hours: {archive.machines:,} machines of 16 cores in "
        f"{archive.hours:g} h"
    )
    for name, card_hours in archive.card_hours.items():
        typer.echo(f"  or {card_hours:,.0f} hours of one card ({name})")
    typer.echo(
        f"  output {archive.output_tb:,.3f} TB; {archive.lost_share:.3%} of the work is done twice "
        "if each machine is taken away once an hour"
    )


def _print_training(training: TrainingPlan) -> None:
    typer.echo(
        f"{training.clips:,} clips, {training.epochs} epochs, {training.card}\n"
        "  GPUs  clips of an update      rate  exchange  clips/s   cores  MB/s  hours"
        "  hours with these cores"
    )
    for row in training.rows:
        typer.echo(
            f"  {row.gpus:4}  {row.update_clips:4} ({row.accumulate:2} steps)"
            f"       {row.learning_rate:9.1e} {row.exchange_share:8.1%} {row.clips_per_s:8,.0f}"
            f" {row.decode_cores:7,} {row.read_mb_s:5,.0f} {row.total_h:6.1f}"
            f" {row.limited_total_h:10.1f}"
        )
