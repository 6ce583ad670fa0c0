"""The errors a user sees: what happened, where, and what to do next.

The command line prints one as a single line and exits with its `exit_code`, and so what the system refuses (a folder that may not be
written) as a `MachineError`; anything else is a bug and keeps its traceback.
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
    """What went wrong and where (`what`), and what to do about it (`hint`)."""

    exit_code = 2

    def __init__(self, what: str, hint: str = "", *, exit_code: int | None = None) -> None:
        super().__init__(f"{what} {hint}".strip())
        self.what = what
        self.hint = hint
        # An error that passes on the status of a process overrides the code of its class.
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(GasmcastError):
    """A wrong argument, configuration, data set, checkpoint or bundle."""

    exit_code = 2


class MachineError(GasmcastError):
    """This machine lacks something: a package, a device, the network, disk space."""

    exit_code = 3


class GateError(GasmcastError):
    """A parity or accuracy gate did not hold; nothing that failed it was written."""

    exit_code = 4


class SourceError(GasmcastError):
    """A video or camera could not be opened or read."""

    exit_code = 5


class StageError(GasmcastError):
    """The engine of a run that was under way failed; a new start may well go on, so a supervisor should try."""

    exit_code = 75


class EndedError(GasmcastError):
    """A signal ended the work before its end; nothing half-written is left."""

    exit_code = 130
