"""Threads that may hang in native code, and an end of the process that does not wait for them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["DaemonThread", "exit_now", "exit_past_hung_threads", "start_daemon"]

# Threads that do not hang have ended by then.
_GRACE_S = 1.0


class DaemonThread(threading.Thread):
    """Thread that may hang in native code.

    Args:
        work: function that it runs.
        name: name that debuggers show.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        super().__init__(target=work, name=name, daemon=True)


def start_daemon(work: Callable[[], None], name: str) -> None:
    """Run `work` on a new daemon thread."""
    DaemonThread(work, name).start()


def exit_now(status: int) -> None:
    """End the process without cleanup, which threads that hang in native code could block.

    Standard output is not flushed: every line is written at once, and a flush would hang where
    nobody reads the output.
    """
    # The log explains the exit, so it is flushed.
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def exit_past_hung_threads() -> Iterator[None]:
    """End the process by `exit_now` on `sys.exit` if a daemon thread started inside still hangs.

    A thread that returns while the interpreter shuts down has its stack unwound, which C++ code
    (OpenCV, an engine) answers with an abort: the exit status would be 134.
    """
    before = set(threading.enumerate())
    try:
        yield
    except SystemExit as end:
        started = [thread for thread in threading.enumerate() if thread not in before]
        if _any_hangs([thread for thread in started if isinstance(thread, DaemonThread)]):
            # `sys.exit` takes a status, a text (status 1) or nothing (status 0).
            exit_now(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


def _any_hangs(threads: list[DaemonThread]) -> bool:
    deadline = time.monotonic() + _GRACE_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in threads)
