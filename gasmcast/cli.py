"""Command line: one Typer app whose commands import what they need only when they run."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from gasmcast import __version__
from gasmcast.errors import GasmcastError, MachineError
from gasmcast.missing import missing_package
from gasmcast.no_telemetry import disable_telemetry
from gasmcast.runtime.service.threads import exit_past_hung_threads

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

__all__ = ["app", "main"]


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"gasmcast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
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
    """Run the command line.

    A `GasmcastError`, a missing package and an error of the operating system become one line and
    an exit code. Any other exception is a bug and keeps its traceback.
    """
    # Before any library is imported; child processes inherit it.
    disable_telemetry()

    # Threads that hang in native code must not keep the process alive.
    with exit_past_hung_threads():
        _main()


def _main() -> None:
    try:
        app()
    except GasmcastError as error:
        _exit(error)
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        _exit(missing)
    except OSError as error:
        # Without an errno it is an error type of a library, and so a bug of ours.
        if error.errno is None:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        hint = "Check that the path is right, may be read or written, and has space."
        _exit(MachineError(f"{where}{error.strerror}.", hint))


def _exit(error: GasmcastError) -> NoReturn:
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    sys.exit(error.exit_code)
