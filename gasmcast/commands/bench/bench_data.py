"""`gasmcast bench data`: clips per second of the training loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.commands.data_options import ContextSeconds, DataFormat, DataSet

if TYPE_CHECKING:
    from gasmcast.commands.bench.data_speed import DataSpeed

__all__ = ["bench_data"]


def bench_data(
    source: Annotated[
        str,
        typer.Argument(
            help="Preset or YAML file whose clip spec and augmentation are measured.",
        ),
    ],
    data: DataSet,
    clips: Annotated[
        int, typer.Option("--clips", min=1, help="Number of clips of the training split.")
    ] = 64,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes of the loader.")] = 2,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Clips per batch.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    data_format: DataFormat = None,
    context: ContextSeconds = 0.0,
) -> None:
    """Measure clips per second by stage, beside decoding alone.

    Examples:
        gasmcast bench data ssv2 --data ssv2 --workers 8

        gasmcast bench data demo --data data/demo --json
    """
    import json

    from rich.console import Console

    from gasmcast.commands.bench.data_speed import measure_data
    from gasmcast.config import load_config
    from gasmcast.data.annotations import read_split
    from gasmcast.data.reading import read_as
    from gasmcast.errors import UsageError

    read_as(data_format, allow_leak=True, context_s=context)
    config = load_config(source)
    samples = [sample for sample in read_split(data, "train") if sample.path is not None][:clips]
    if not samples:
        raise UsageError(
            f"{data} has no training clip with a video.",
            "Complete the download, or give another --data.",
        )

    with Console(stderr=True).status("measuring") as status:

        def progress(
            stage: str,
            done: int = 0,  # noqa: ARG001 - only stages are shown
            total: int = 0,  # noqa: ARG001 - only stages are shown
        ) -> None:
            status.update(f"measuring {stage.replace('_', ' ')}")

        speed = measure_data(
            samples,
            config.spec,
            config.augment,
            workers=workers,
            batch_size=batch_size,
            progress=progress,
        )

    if as_json:
        typer.echo(json.dumps(speed.to_json()))
        return
    _print(speed, title=f"{speed.clips} clips of {data}, {config.spec.clip_shape}")
    typer.echo(f"Next: gasmcast train {source} --data {data} --out RUN")


def _print(speed: DataSpeed, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in ("stage", "1 process", f"{speed.workers} workers"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    table.add_row("decode only", f"{speed.one_decode:.1f}", f"{speed.loader_decode:.1f}")
    table.add_row("evaluation clip", f"{speed.one_evaluation:.1f}", "")
    table.add_row("training clip", f"{speed.one_training:.1f}", f"{speed.loader_training:.1f}")
    Console().print(table)
    typer.echo(
        f"Clips a second. Of the rate of decoding only, the loader reaches {speed.share:.0%}, "
        f"this process alone {speed.one_share:.0%}."
    )

    # Training decodes too, so it cannot be faster: another load has slowed the first row down.
    if max(speed.share, speed.one_share) > 1.05:
        typer.echo("More than 100 %: the machine was busy during a measurement; measure again.")
