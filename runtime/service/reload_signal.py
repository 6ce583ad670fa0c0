"""SIGHUP from the first moment on: a request to reload that comes too early waits."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["ReloadSignal"]


class ReloadSignal:
    """Handler of SIGHUP that keeps a request until there is somebody to serve it.

    By default SIGHUP ends a process, also one that still compiles its engines.
    """

    def __init__(self) -> None:
        self._requested = False
        self._serve: Callable[[], None] | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGHUP inside the block; only the main thread can, and Windows has no SIGHUP."""
        if (
            not hasattr(signal, "SIGHUP")
            or threading.current_thread() is not threading.main_thread()
        ):
            yield
            return

        before = signal.signal(signal.SIGHUP, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def forward(self, serve: Callable[[], None]) -> None:
        """Call `serve` on each request from now on, and at once if one has come already.

        Args:
            serve: must return at once, because a signal handler calls it.
        """
        self._serve = serve
        if self._requested:
            serve()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
        if self._serve is not None:
            self._serve()
