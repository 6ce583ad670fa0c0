"""The cache folder of the user, for what can be computed again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["user_cache"]


def user_cache(*parts: str) -> Path:
    """Return a path under `$XDG_CACHE_HOME/gasmcast`, or under `~/.cache/gasmcast`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root.joinpath("gasmcast", *parts)
