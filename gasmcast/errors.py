"""Errors that users see: what happened, where, and what to do next.

The command line prints such an error as one line and exits with its `exit_code`. An `OSError`, such
as a folder that is not writable, becomes a `MachineError`. Any other exception is a bug and keeps
its traceback.
"""

from __future__ import annotations

__all__ = [
    "EndedError",
    "GasmcastError",
    "GateError",
    "MachineError",
    "SourceError",
    "StageError",
    "UsageError",
]


class GasmcastError(Exception):
    """Base class of all errors that users see.

    Args:
        what: what went wrong and where, as a sentence.
        hint: what to do next, as a sentence.
        exit_code: exit code of the command line, if not that of the class.
    """

    exit_code = 2

    def __init__(self, what: str, hint: str = "", *, exit_code: int | None = None) -> None:
        super().__init__(f"{what} {hint}".strip())
        self.what = what
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(GasmcastError):
    """Raised for a wrong argument, configuration, data set, checkpoint or bundle."""

    exit_code = 2


class MachineError(GasmcastError):
    """Raised when the machine lacks something: a package, a device, the network, disk space."""

    exit_code = 3


class GateError(GasmcastError):
    """Raised when parity or the accuracy gate fails; nothing that failed it was written."""

    exit_code = 4


class SourceError(GasmcastError):
    """Raised when a video or camera cannot be opened or read."""

    exit_code = 5


class StageError(GasmcastError):
    """Raised when the engine of a live run fails; a supervisor should restart the process."""

    exit_code = 75


class EndedError(GasmcastError):
    """Raised when a signal ended the work; no partial files are left."""

    exit_code = 130
