"""End work cleanly on SIGTERM and Ctrl-C, so that no partial file is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gasmcast.errors import EndedError

__all__ = ["clean_end"]


class _SignalReceived(BaseException):
    """Not an `Exception`, so that no handler on the way up takes it for a failure of its own."""


@contextmanager
def clean_end(work: str, hint: str = "Start again.") -> Iterator[None]:
    """Turn the first SIGTERM or Ctrl-C in this block into an error that unwinds the stack.

    Further signals are ignored until clean-up is done. Outside the main thread, where Python
    cannot install signal handlers, the block runs unprotected.

    Args:
        work: name of the work, as the subject of a sentence: "The export".
        hint: what to do next, as a sentence.

    Raises:
        EndedError: a signal came; exit code 130 for Ctrl-C and 143 for SIGTERM, as in a shell.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise _SignalReceived

    watched = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, handle) for number in watched}
    try:
        yield
    except _SignalReceived:
        name = signal.Signals(received[0]).name
        raise EndedError(
            f"{work} was ended by {name}; no partial files are left.",
            hint,
            exit_code=128 + received[0],
        ) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
