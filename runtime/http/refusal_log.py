"""Warnings about refused clients, few enough that no client can fill the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ["RefusalLog"]

_EVERY_S = 60.0


class RefusalLog:
    """Log of refused requests: one warning per cause and minute.

    Args:
        log: takes the warnings.
        clock: monotonic seconds.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._logged_s: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def note(self, what: str, cause: str = "") -> None:
        """Log a refusal, unless one of the same cause was logged within the last minute.

        Args:
            what: what was refused, without secrets.
            cause: one of few, so that no client can fill the memory; `what` if empty.
        """
        cause, now = cause or what, self._clock()
        if now - self._logged_s.get(cause, -_EVERY_S) < _EVERY_S:
            self._left_out[cause] = self._left_out.get(cause, 0) + 1
            return

        self._logged_s[cause] = now
        others = self._left_out.pop(cause, 0)
        more = f" ({others} more since the last warning)" if others else ""
        self._log.warning("refused %s%s", what, more)
