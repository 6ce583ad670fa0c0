"""The command line: one Typer app whose commands import what they need only when they run."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from gasmcast import __version__
from gasmcast.errors import GasmcastError, MachineError
from gasmcast.missing import missing_package
from gasmcast.runtime.service.threads import exit_past_hung_threads

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

__all__ = ["app", "main"]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gasmcast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
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
    """Run the command line; a `GasmcastError`, a package that is missing, or a refusal of the system becomes one line and its exit code."""
    with exit_past_hung_threads():
        _main()


def _main() -> None:
    try:
        app()
    except GasmcastError as error:
        _leave(error)
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        _leave(missing)
    except OSError as error:
        if (
            error.errno is None
        ):  # a library's own error, by its kind only: a bug until somebody has caught it where it belongs
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        _leave(
            MachineError(
                f"{where}{error.strerror}.",
                "Check that the path is right, may be read or written, and has space.",
            )
        )


def _leave(error: GasmcastError) -> NoReturn:
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    sys.exit(error.exit_code)
