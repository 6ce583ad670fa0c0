"""Run `gasmcast calibrate`: choose calibration clips and store them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.commands.data_options import DATA_HELP, AllowLeak, ContextSeconds, DataFormat

if TYPE_CHECKING:  # numpy and pydantic would slow `--help` down
    from gasmcast.spec import ClipSpec

__all__ = ["calibrate"]


def calibrate(
    data: Annotated[
        Path,
        typer.Argument(help=f"{DATA_HELP} Its training split is used."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("calibration-set"),
    config: Annotated[
        str, typer.Option(help="Preset, YAML file or checkpoint that gives the clip spec.")
    ] = "ssv2",
    clips: Annotated[
        int, typer.Option(min=4, help="Number of clips, equally many of each class.")
    ] = 512,
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 0,
    data_format: DataFormat = None,
    allow_leak: AllowLeak = False,
    context: ContextSeconds = 0.0,
) -> None:
    """Choose calibration clips from a training set and store them for later exports.

    With a stored set, an export can be repeated without the videos. The choice is balanced over
    classes, spread over motion and length, seeded, and never takes a clip of the validation split.

    Examples:
        gasmcast calibrate ~/ssv2 --out calib --clips 512

        gasmcast calibrate ~/ssv2 --config runs/a/best.safetensors --out calib

        gasmcast export runs/a/best.safetensors --data ~/ssv2 --calibration calib --precision int8
    """
    import time

    from gasmcast.calibration.choose_clips import choose_clips, training_clips
    from gasmcast.calibration.clip_store import write_set
    from gasmcast.commands.clean_exit import clean_end
    from gasmcast.data.reading import read_as
    from gasmcast.data.set_check import describe_data
    from gasmcast.report.progress_bars import progress_bars

    read_as(data_format, allow_leak=allow_leak, context_s=context)
    spec = _clip_spec(config)
    started = time.monotonic()
    samples = training_clips(data)
    with clean_end("The calibration"), progress_bars() as progress:
        chosen, unread = choose_clips(samples, spec, clips, seed, progress)
        stored = write_set(out, chosen, spec, seed, progress)
    seconds = time.monotonic() - started

    typer.echo(describe_data(data))

    # A set may be smaller than asked for, or miss clips: neither stops the work, both are reported.
    if unread:
        more = " ..." if len(unread) > 5 else ""
        typer.echo(
            f"{len(unread)} clips could not be read and were skipped: {', '.join(unread[:5])}{more}"
        )
    if len(stored) < clips:
        typer.echo(f"The training split gave {len(stored)} clips, not {clips}.")

    index = stored.index
    motions = sorted(choice.motion for choice in chosen)
    size = (out / "frames.bin").stat().st_size
    typer.echo(
        f"{len(stored)} clips of {index.classes} classes = {index.segments} segments of "
        f"{spec.segment_s:g} s stored, motion {motions[0]:.1f} to {motions[-1]:.1f} gray levels "
        f"a frame, {size / 1e6:.1f} MB, {seconds:.0f} s"
    )
    typer.echo(
        f"Wrote {out}. Next: gasmcast export CHECKPOINT --data {data} "
        f"--calibration {out} --precision int8"
    )


def _clip_spec(config: str) -> ClipSpec:
    """Return the clip spec of a preset, YAML file or checkpoint."""
    from gasmcast.config import PRESETS, load_config

    # A name of a preset means the preset, even if `make demo` left a folder of the same name.
    is_checkpoint = config.endswith(".safetensors") or Path(config).is_dir()
    if config not in PRESETS and is_checkpoint:
        from gasmcast.models.checkpoint import read_checkpoint

        return read_checkpoint(Path(config))[0].spec
    return load_config(config).spec
