"""Tell a shortage of the machine (threads, memory, open files) from a broken network."""

from __future__ import annotations

import errno
import re

from gasmcast.errors import MachineError

__all__ = ["raise_if_shortage"]

_EXIT_CODE = 75
"""EX_TEMPFAIL: a supervisor should try again, which exit code 3 forbids in deploy/."""
_ERRNOS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)

# Libraries give the error of the operating system or of C++ as text alone.
_TEXT = re.compile(
    r"resource temporarily unavailable|cannot allocate memory|bad_?alloc|bad allocation"
    r"|out of memory|not enough memory|failed to allocate|can't start new thread"
    r"|pthread_create|too many open files",
    re.IGNORECASE,
)


def raise_if_shortage(error: BaseException, what: str) -> None:
    """Raise a `MachineError` if `error` was caused by a shortage; return otherwise.

    Args:
        error: what a library raised.
        what: what could not be done, as a sentence without its period.

    Raises:
        MachineError: threads, memory or file descriptors ran out; with the exit code for "try
            again".
    """
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if not (isinstance(error, MemoryError) or number in _ERRNOS or _TEXT.search(text)):
        return

    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = lines[-1].rstrip(".") if lines else "out of memory"
    raise MachineError(
        f"{what}: the machine has too little memory or too few threads now ({reason}).",
        "Nothing is wrong with the bundle. Raise the limits (ulimit -a, MemoryMax, TasksMax), "
        "or try again.",
        exit_code=_EXIT_CODE,
    ) from None
