"""The command line: one Typer app whose commands import what they need only when they run."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from gasmcast import __version__
from gasmcast.errors import GasmcastError
from gasmcast.missing import missing_package

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_show_locals=False)

__all__ = ["app", "main"]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gasmcast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Video action recognition from training to a camera at the edge."""


def _register() -> None:
    from gasmcast.commands import COMMANDS, GROUPS

    for command in COMMANDS:
        app.command()(command)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)


_register()


def main() -> None:
    """Run the command line; a `GasmcastError`, or a package that is missing, becomes one line and its exit code."""
    try:
        app()
    except GasmcastError as error:
        _leave(error)
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        _leave(missing)


def _leave(error: GasmcastError) -> NoReturn:
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    sys.exit(error.exit_code)
