"""`gasmcast calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # pydantic and numpy are not for `--help`
    from gasmcast.spec import ClipSpec

__all__ = ["calibrate"]


def calibrate(
    data: Annotated[
        Path,
        typer.Argument(
            help="A data set in Something-Something-V2's format; its training split is used."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("calibration-set"),
    config: Annotated[
        str, typer.Option(help="Preset, YAML file or checkpoint whose clip spec is meant.")
    ] = "ssv2",
    clips: Annotated[int, typer.Option(min=4, help="How many clips; equally many a class.")] = 512,
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
) -> None:
    """Choose calibration clips from a training set and store them, so that exports repeat without the videos.

    Class-balanced, spread over motion amount and length, seeded, never from validation.

        gasmcast calibrate ~/ssv2 --out calib --clips 512

        gasmcast calibrate ~/ssv2 --config runs/a/best.safetensors --out calib

        gasmcast export runs/a/best.safetensors --data ~/ssv2 --calibration calib --precision int8
    """
    import time

    from rich.progress import Progress

    from gasmcast.calibration.choose_clips import choose_clips, training_clips
    from gasmcast.calibration.clip_store import write_set
    from gasmcast.commands.clean_exit import clean_end

    spec = _spec(config)
    started = time.monotonic()
    samples = training_clips(data)
    with clean_end("The calibration"), Progress(transient=True) as progress:
        task = progress.add_task("looking at clips", total=None)
        chosen, unread = choose_clips(
            samples,
            spec,
            clips,
            seed,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
        task2 = progress.add_task("storing", total=len(chosen))
        made = write_set(
            out,
            chosen,
            spec,
            seed,
            lambda done, total: progress.update(task2, completed=done, total=total),
        )
    size = (out / "frames.bin").stat().st_size
    if unread:
        typer.echo(
            f"{len(unread)} clips could not be read and were passed over: {', '.join(unread[:5])}{' ...' if len(unread) > 5 else ''}"
        )
    if len(made) < clips:
        typer.echo(f"The training split gave {len(made)} clips, not {clips}.")
    motions = sorted(c.motion for c in chosen)
    typer.echo(
        f"{len(made)} clips of {made.index.classes} classes = {made.index.segments} segments of {spec.segment_s:g} s stored, "
        f"motion {motions[0]:.1f} to {motions[-1]:.1f} gray levels a frame, {size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s"
    )
    typer.echo(
        f"Wrote {out}. Next: gasmcast export CHECKPOINT --data {data} --calibration {out} --precision int8"
    )


def _spec(config: str) -> ClipSpec:
    from gasmcast.config import PRESETS, load_config

    # A preset's name means the preset, though `make demo` leaves a folder called demo.
    if config not in PRESETS and (config.endswith(".safetensors") or Path(config).is_dir()):
        from gasmcast.models.checkpoint import read_checkpoint

        return read_checkpoint(Path(config))[0].spec
    return load_config(config).spec
