"""Turn SIGTERM and Ctrl-C into one clean exit of work that writes files.

Both signals unwind the stack, so that drafts are removed on the way, and end in one sentence.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gasmcast.errors import EndedError

__all__ = ["clean_end"]


class _Interrupted(BaseException):
    """Signal received; not an `Exception`, so that no handler on the way up mistakes it for one."""


@contextmanager
def clean_end(what: str) -> Iterator[None]:
    """Leave the block at the first SIGTERM or Ctrl-C, and ignore further ones during cleanup.

    Does nothing outside the main thread, where signals cannot be caught.

    Args:
        what: the work, as the beginning of a sentence, such as "The export".

    Raises:
        EndedError: a signal arrived; exit code 130 for Ctrl-C and 143 for SIGTERM, as in a shell.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        # Only the first signal may unwind: a second one would interrupt the cleanup.
        received.append(number)
        if len(received) == 1:
            raise _Interrupted

    previous = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    except _Interrupted:
        name = signal.Signals(received[0]).name
        raise EndedError(
            f"{what} was ended by {name}; nothing half-written is left.",
            "Start it again.",
            exit_code=128 + received[0],
        ) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
