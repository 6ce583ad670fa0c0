"""A polite stop: the first SIGTERM or Ctrl-C asks the loop to write a checkpoint and end, the second has its usual effect."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

__all__ = ["StopSignal"]

WATCHED = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """A context manager; outside the main thread, where signals cannot be caught, it never asks."""

    def __init__(self) -> None:
        self.asked = ""
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in WATCHED}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature of a handler
        self.asked = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
