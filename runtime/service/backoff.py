"""When to try again: twice as long after each failure, at random below that, so that many cameras do not come back at once.

The figures and "full jitter" are those of AWS's "Exponential Backoff And Jitter" (2015).
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Waits of 0.5 s doubling to 30 s, each drawn between a tenth and the whole of it.

    Args:
        first_s: the bound of the first wait.
        most_s: the bound of all waits.
        steady_s: working for this long forgives the failures before.
        tries: failures in a row after which it is `hopeless`.
        draw: gives a number in [0, 1).
    """

    def __init__(
        self,
        first_s: float = 0.5,
        most_s: float = 30.0,
        *,
        steady_s: float = 5.0,
        tries: int = 5,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.failures = 0
        self._first_s, self._most_s, self._steady_s, self._tries, self._draw = (
            first_s,
            most_s,
            steady_s,
            tries,
            draw,
        )
        self._good_since: float | None = None

    @property
    def hopeless(self) -> bool:
        """Five failures in a row."""
        return self.failures >= self._tries

    def good(self, now: float) -> None:
        """It works at `now`."""
        if self._good_since is None:
            self._good_since = now
        elif now - self._good_since >= self._steady_s:
            self.failures = 0

    def bad(self, now: float) -> float:
        """It failed at `now`.

        Returns:
            seconds to wait.
        """
        if self._good_since is not None and now - self._good_since >= self._steady_s:
            self.failures = 0
        self._good_since = None
        bound = min(self._most_s, self._first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        # A tenth at least: a camera that dies as it connects must not be hammered.
        return bound * max(0.1, self._draw())
