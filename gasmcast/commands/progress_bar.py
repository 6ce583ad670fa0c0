"""Show progress of long work on standard error: bars on a terminal, lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from gasmcast.progress import Progress, silent

__all__ = ["progress_bars"]


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[Progress]:
    """Yield a progress callback that draws one bar for each stage; the bars vanish at the end.

    In a log file, where a bar cannot be redrawn, it prints one line for each stage.

    Args:
        quiet: draw and print nothing.
    """
    if quiet:
        yield silent
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    bars = Bars(*columns, console=console, transient=True)
    tasks: dict[str, TaskID] = {}
    started = time.monotonic()

    def show(stage: str, done: int = 0, total: int = 0) -> None:
        # Bars that start before the first report would leave an empty line under an early error.
        if console.is_terminal:
            bars.start()
        elif stage not in tasks:
            typer.echo(f"{time.monotonic() - started:6.0f} s  {stage}", err=True)

        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total or None)
        bars.update(tasks[stage], completed=done, total=total or None)

    try:
        yield show
    finally:
        if tasks and console.is_terminal:
            bars.stop()
