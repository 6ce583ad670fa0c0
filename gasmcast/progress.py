"""The one signature of progress callbacks."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Callback that long work calls to report how far it is."""

    def __call__(self, stage: str, done: int = 0, total: int = 0, /) -> None:
        """Report that `done` of `total` steps of `stage` are complete.

        Args:
            stage: short name of the current work, as in "calibrating encoder".
            done: completed steps.
            total: steps in this stage; 0 when the number is unknown.
        """


def silent(stage: str, done: int = 0, total: int = 0, /) -> None:
    """Ignore progress; the default callback."""
