"""Limit the clips of a set that may fail: a few are left out, more of them stop the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gasmcast.errors import GasmcastError

__all__ = ["check_failures"]

BAD_SHARE = 0.01
"""Share of a set's clips that may be missing or undecodable."""
SHOWN = 5


def check_failures(names: Sequence[str], total: int, error: Callable[[str], GasmcastError]) -> None:
    """Raise an error when more than 1 % of a set's clips failed.

    Args:
        names: the clips that failed so far.
        total: number of clips in the set.
        error: builds the error from the first names and the limit, as in "(a, b), above 1%".

    Raises:
        GasmcastError: what `error` returns.
    """
    if len(names) <= BAD_SHARE * total:
        return
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    raise error(f"({shown}), above {BAD_SHARE:.0%}") from None
