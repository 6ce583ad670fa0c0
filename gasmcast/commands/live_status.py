"""What `gasmcast live` prints beside its records: status, errors of sources, the last line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gasmcast.errors import GasmcastError
from gasmcast.terminal_text import printable

if TYPE_CHECKING:
    from gasmcast.runtime.pipeline import Totals

__all__ = ["print_nothing", "print_status", "raise_first", "summary"]


def raise_first(errors: Sequence[GasmcastError], *, ordered: bool) -> None:
    """Print the errors of single sources; raise the first unless the end was requested.

    A requested end is no fault of the sources, so its exit status is 0.
    """
    for error in errors if ordered else errors[1:]:
        typer.secho(f"error: {printable(str(error))}", fg=typer.colors.RED, err=True)
    if errors and not ordered:
        raise errors[0]


def summary(totals: Totals, written: list[Path], recording: Path | None) -> str:
    """Return the last line: what was decided and written, and a next step."""
    sources, decisions = totals
    text = f"{decisions} decisions from {sources} source{'' if sources == 1 else 's'}."

    # The next step depends on what this run left behind.
    if written:
        text += f" Wrote {', '.join(map(str, written))}."
    if recording:
        text += f" Next: gasmcast replay {recording}"
    elif not written:
        text += " Next: add --jsonl FILE or --save FILE.mp4."
    return text


def print_status(text: str) -> None:
    """Print a line on standard error."""
    # Names of files and cameras come from outside.
    typer.echo(printable(text), err=True)


def print_nothing(_: str) -> None:
    """Ignore a status line, for `--quiet`."""
