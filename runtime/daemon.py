"""Threads that nobody waits for: they may hang in native code, and the process ends without them."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["start_daemon"]


def start_daemon(work: Callable[[], None], name: str) -> None:
    """Begin `work` on a thread of its own; `name` is what debuggers show."""
    threading.Thread(target=work, name=name, daemon=True).start()
