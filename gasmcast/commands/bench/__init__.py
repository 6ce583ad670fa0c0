"""`gasmcast bench`: measurements of this machine."""

from __future__ import annotations

import typer

from gasmcast.commands.bench.bench_data import bench_data
from gasmcast.commands.bench.bench_live import bench_live

__all__ = ["bench"]

bench = typer.Typer(
    no_args_is_help=True,
    help="Measure this machine: reading clips for training, deciding live.",
)
bench.command("data")(bench_data)
bench.command("live")(bench_live)
