"""`gasmcast bench`: what this machine does, measured."""

from __future__ import annotations

import typer

from gasmcast.commands.bench.data_verb import bench_data
from gasmcast.commands.bench.live_verb import bench_live

__all__ = ["bench"]

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure what this machine does: reading clips for training, deciding live.",
)
bench.command("data")(bench_data)
bench.command("live")(bench_live)
