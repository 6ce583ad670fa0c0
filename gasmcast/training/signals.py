"""A polite stop: the first SIGTERM or Ctrl-C asks the loop to write a checkpoint and end; a second Ctrl-C has its usual effect."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

__all__ = ["StopSignal"]

WATCHED = (signal.SIGTERM, signal.SIGINT)
ECHO_S = 1.0  # a launcher passes on the Ctrl-C that its whole process group had already


class StopSignal:
    """A context manager; outside the main thread, where signals cannot be caught, it never asks.

    Further SIGTERMs change nothing: a scheduler sends one to every process and a launcher forwards its own, and the state is being
    written by then. Who cannot wait presses Ctrl-C again, or sends SIGKILL.
    """

    def __init__(self) -> None:
        self.asked = 0
        """The number of the first signal."""
        self._asked_at = 0.0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in WATCHED}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature of a handler
        if not self.asked:
            self.asked, self._asked_at = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._asked_at > ECHO_S:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
