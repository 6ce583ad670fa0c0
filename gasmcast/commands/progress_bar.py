"""Progress of a verb that writes: a bar on a terminal, lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from gasmcast.commands.clean_exit import clean_end
from gasmcast.progress import Progress

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(work: str) -> Iterator[Progress]:
    """Show progress of a block as a bar on a terminal, and as one line per stage in a log file.

    Args:
        work: the work, as the beginning of a sentence: "The export".

    Raises:
        EndedError: a signal ended the block; see `clean_end`.
    """
    # Progress goes to stderr: stdout is for results and JSON.
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with clean_end(work), Bar(*columns, transient=True, console=console) as bar:
        task = bar.add_task("starting", total=None)
        started, last = time.monotonic(), ""

        def progress(stage: str, done: int = 0, total: int = 0) -> None:
            nonlocal last
            bar.update(task, description=stage, completed=done, total=total or None)

            # A log file has no bar that could be redrawn.
            if stage != last and not console.is_terminal:
                typer.echo(f"{time.monotonic() - started:6.0f} s  {stage}", err=True)
            last = stage

        yield progress
