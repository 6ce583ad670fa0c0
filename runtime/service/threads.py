"""Threads that nobody waits for: they may hang in native code, and the process ends without them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["Daemon", "end_without", "leave", "start_daemon"]

_MOMENT_S = 1.0  # what does not hang has ended by then


class Daemon(threading.Thread):
    """A thread that may hang in native code; `name` is what debuggers show."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        super().__init__(target=work, name=name, daemon=True)


def start_daemon(work: Callable[[], None], name: str) -> None:
    """Begin `work` on a thread of its own."""
    Daemon(work, name).start()


def leave(status: int) -> None:
    """End now: threads that hang in native code would spoil an orderly end, or keep it waiting for ever.

    Standard output is not flushed: all that is written there is at once, and where nobody reads it this would hang as well.
    """
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def end_without() -> Iterator[None]:
    """Within this, `sys.exit` ends the process by `leave` where a `Daemon` that began within still hangs.

    One that comes back while the interpreter ends has its stack unwound, which C++ (OpenCV, an engine) answers with an abort: the status
    would be 134 instead of the one that was meant.
    """
    before = set(threading.enumerate())
    try:
        yield
    except SystemExit as end:
        if _hang(
            [
                thread
                for thread in threading.enumerate()
                if isinstance(thread, Daemon) and thread not in before
            ]
        ):
            leave(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


def _hang(threads: list[Daemon]) -> bool:
    until = time.monotonic() + _MOMENT_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return any(thread.is_alive() for thread in threads)
