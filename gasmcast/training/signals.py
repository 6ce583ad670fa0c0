"""Catch stop signals, so that the training loop can save its state and end.

The first SIGTERM or Ctrl-C requests the end; a second Ctrl-C has its usual effect.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

__all__ = ["StopSignal"]

WATCHED = (signal.SIGTERM, signal.SIGINT)
ECHO_S = 1.0  # a launcher forwards the Ctrl-C that its whole process group has already received


class StopSignal:
    """Context manager that remembers the first stop signal.

    Further SIGTERMs change nothing: a scheduler sends one to every process, a launcher forwards its
    own, and the state is being written by then. To end at once, press Ctrl-C again or send SIGKILL.
    Outside the main thread signals cannot be caught, and none is remembered.
    """

    def __init__(self) -> None:
        self.number = 0
        """Number of the first signal; 0 for none."""
        self._received_at = 0.0
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in WATCHED}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler
        """Remember the first signal; give a later Ctrl-C its usual effect."""
        if not self.number:
            self.number, self._received_at = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._received_at > ECHO_S:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}
