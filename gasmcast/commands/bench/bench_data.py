"""`gasmcast bench data`."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path

import typer

__all__ = ["bench_data"]


def bench_data(
    source: str = typer.Argument(
        help="A preset or YAML file: its clip spec and augmentation are measured."
    ),
    data: Path = typer.Option(
        ..., "--data", "-d", help="Folder of a set in Something-Something-V2's format."
    ),
    clips: int = typer.Option(64, min=1, help="How many clips of the training split."),
    workers: int = typer.Option(2, min=0, help="Processes of the loader."),
    batch_size: int = typer.Option(8, min=1, help="Clips a batch."),
    json: bool = typer.Option(False, "--json", help="Print JSON instead of a table."),
) -> None:
    """Clips a second by stage, against the decoder's own limit.

    Examples:
        gasmcast bench data ssv2 --data ssv2 --workers 8

        gasmcast bench data demo --data data/demo --json
    """
    from rich.console import Console
    from rich.table import Table

    from gasmcast.commands.bench.data_speed import measure_data
    from gasmcast.config import load_config
    from gasmcast.data.annotations import read_split
    from gasmcast.errors import UsageError

    config = load_config(source)
    samples = [sample for sample in read_split(data, "train") if sample.path is not None][:clips]
    if not samples:
        raise UsageError(
            f"{data} has no training clip with a video.",
            "Complete the download, or give another --data.",
        )
    with Console(stderr=True).status("measuring") as status:
        speed = measure_data(
            samples,
            config.spec,
            config.augment,
            workers=workers,
            batch_size=batch_size,
            on_stage=lambda stage: status.update(f"measuring {stage.replace('_', ' ')}"),
        )
    if json:
        typer.echo(jsonlib.dumps(speed.to_json()))
        return
    table = Table(title=f"{speed.clips} clips of {data}, {config.spec.clip_shape}")
    for column in ("stage", "1 process", f"{workers} workers"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    table.add_row("decode (the limit)", f"{speed.one_decode:.1f}", f"{speed.loader_decode:.1f}")
    table.add_row("evaluation clip", f"{speed.one_evaluation:.1f}", "")
    table.add_row("training clip", f"{speed.one_training:.1f}", f"{speed.loader_training:.1f}")
    Console().print(table)
    typer.echo(
        f"Clips a second. Of raw decoding the loader reaches {speed.share:.0%}, this process alone {speed.one_share:.0%}."
    )
    typer.echo(f"Next: gasmcast train {source} --data {data} --out RUN")
