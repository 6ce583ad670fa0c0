"""Command line: one Typer app whose commands import what they need only when they run."""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gasmcast import __version__
from gasmcast.child_process import end_with_parent
from gasmcast.errors import GasmcastError, MachineError
from gasmcast.missing import missing_package
from gasmcast.no_telemetry import disable_telemetry
from gasmcast.runtime.service.secrets import redact
from gasmcast.runtime.service.threads import exit_past_hung_threads
from gasmcast.sleeping_threads import let_threads_sleep
from gasmcast.terminal_text import printable

if TYPE_CHECKING:
    from typing_extensions import Buffer

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
    from gasmcast.commands import CLASSES, COMMANDS, GROUPS
    from gasmcast.commands.help_text import flow_paragraphs

    for command in COMMANDS:
        app.command(cls=CLASSES.get(command))(command)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)

    for verbs in (app, *GROUPS.values()):
        for info in verbs.registered_commands:
            info.help = flow_paragraphs((info.callback and info.callback.__doc__) or "")


_register()


def main() -> None:
    """Run the command line.

    A `GasmcastError`, a missing package and an error of the operating system become one line and
    an exit code. Any other exception is a bug: its traceback is printed without secrets, and the
    exit code is 1.
    """
    # A verb that another verb started (`gasmcast demo`) ends with it.
    end_with_parent()
    # Before any library is imported; child processes inherit it.
    disable_telemetry()
    let_threads_sleep()

    _make_streams_lenient()
    # Threads that hang in native code must not keep the process alive.
    with exit_past_hung_threads():
        _main()


def _main() -> None:
    try:
        app()
    except GasmcastError as error:
        _exit(error)

    # The base install leaves out what only training and export need.
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            _exit_with_traceback(error)
        _exit(missing)

    # A full disk or a path that may not be read.
    except OSError as error:
        # Without an errno it is an error type of a library, and so a bug of ours.
        if error.errno is None:
            _exit_with_traceback(error)
        where = "" if error.filename is None else f"{error.filename}: "
        hint = "Check that the path is right, may be read or written, and has space."
        _exit(MachineError(f"{where}{error.strerror}.", hint))
    except Exception as error:  # noqa: BLE001 - Python itself would print its secrets, too
        _exit_with_traceback(error)


def _exit(error: GasmcastError) -> NoReturn:
    # An error may quote a label, a file name or the answer of a server.
    _print_error(f"error: {printable(redact(error))}")
    sys.exit(error.exit_code)


def _exit_with_traceback(error: BaseException) -> NoReturn:
    text = "".join(traceback.format_exception(error)).rstrip()
    _print_error(printable(redact(text), keep="\n"))
    sys.exit(1)


def _print_error(text: str) -> None:
    # The exit code must be right even where nothing can be printed.
    with contextlib.suppress(OSError):
        typer.secho(text, fg=typer.colors.RED, err=True)


class _BestEffortFile(io.FileIO):
    """File descriptor that ignores what a full disk or a closed pipe does not take."""

    def write(self, data: Buffer, /) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        # A short write would be tried again, without end.
        return memoryview(data).nbytes if written is None else written


def _make_streams_lenient() -> None:
    """Let no text that a verb prints end it: neither its letters, nor a full disk behind stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A Latin-1 pipe cannot take every label. Tests and notebooks replace the streams.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    # What a verb reports beside its result must not end it. A terminal takes everything.
    stderr = sys.stderr
    if not isinstance(stderr, io.TextIOWrapper) or stderr.isatty():
        return
    with contextlib.suppress(OSError):
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_BestEffortFile(stderr.fileno(), "wb", closefd=False)),
            encoding=stderr.encoding,
            errors="backslashreplace",
            line_buffering=True,
            write_through=True,
        )
