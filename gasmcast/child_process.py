"""Child processes that end with the process that started them, whatever ends it.

A parent that is ended by SIGKILL (or by SIGTERM outside Python code) runs no handler, so the child
has to notice. A thread of the child watches the id of its parent, which changes when the parent
ends. On Linux the kernel kills the child in addition (`prctl(PR_SET_PDEATHSIG)`), also while native
code holds the interpreter; it watches the thread that started the child, which has to wait for it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

__all__ = ["child_environment", "end_with_parent"]

_PARENT = "GASMCAST_PARENT"
_PR_SET_PDEATHSIG = 1  # from Linux's sys/prctl.h
_POLL_S = 0.5


def child_environment() -> dict[str, str]:
    """Return the environment of a child that calls `end_with_parent()` first thing."""
    return {**os.environ, _PARENT: str(os.getpid())}


def end_with_parent(parent: int | None = None) -> None:
    """End this process when its parent ends.

    Args:
        parent: process id, for a worker that any thread may have started; None: the parent that
            passed `child_environment()` and waits for this process. Without one nothing happens: a
            user's own script may outlive its shell.
    """
    if parent is None:
        # Removed, because it says nothing about the parent of a grandchild.
        text = os.environ.pop(_PARENT, "")
        if not text.isdecimal():
            return
        parent = int(text)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    threading.Thread(target=_watch, args=(parent,), name="gasmcast-parent", daemon=True).start()


def _watch(parent: int) -> None:
    """End the process at once: there is nobody left to clean up for."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)
