"""SIGTERM and Ctrl-C for work that writes: both unwind the stack, so that drafts are removed on the way, and end in one sentence."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gasmcast.errors import EndedError

__all__ = ["clean_end"]


class _Asked(BaseException):
    """Not an `Exception`: nothing on the way up may take it for a failure of its own and go on."""


@contextmanager
def clean_end(what: str) -> Iterator[None]:
    """Within this, the first SIGTERM or Ctrl-C leaves the block, and further ones wait until what was half-written is gone.

    Outside the main thread, where signals cannot be caught, it does nothing.

    Args:
        what: the work, as the beginning of a sentence: `The export`.

    Raises:
        EndedError: a signal came; exit code 130 for Ctrl-C and 143 for SIGTERM, as a shell counts them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def leave(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:
            raise _Asked

    watched = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, leave) for number in watched}
    try:
        yield
    except _Asked:
        error = EndedError(
            f"{what} was ended by {signal.Signals(came[0]).name}; nothing half-written is left.",
            "Start it again.",
        )
        error.exit_code = 128 + came[0]
        raise error from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
