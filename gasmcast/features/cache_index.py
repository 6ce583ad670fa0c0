"""Read and write the index of a feature cache, which marks the cache as finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.errors import UsageError
from gasmcast.files import read_json, write_atomic

__all__ = ["INDEX", "CacheIndex", "facts_key", "read_index", "write_index"]

INDEX = "index.json"
_DTYPES = ("float16", "float32")
_ENCODERS = ("torch", "openvino")


@dataclass(frozen=True)
class CacheIndex:
    """Content of the index of a finished cache."""

    key: str
    """SHA-256 of `facts`."""
    facts: dict[str, Any]
    """Everything that the content of the cache depends on."""
    labels: tuple[int, ...]
    """Label of each row; -1 for a clip that did not decode."""

    @property
    def views(self) -> int:
        """Views per clip."""
        return int(self.facts["views"][0])

    @property
    def encoder(self) -> str:
        """Return what encodes the rows on a CPU, `torch` or `openvino`."""
        return str(self.facts.get("encoder", "torch"))


def facts_key(facts: dict[str, Any]) -> str:
    """Return the key of a cache: the SHA-256 of its facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_index(path: Path) -> CacheIndex:
    """Read the index of a cache and check that its facts are those of its key.

    Raises:
        UsageError: the file is damaged or altered.
    """
    tree = read_json(path, dict, "key", "facts", "labels")
    facts, labels = tree["facts"], tree["labels"]
    if not isinstance(facts, dict) or tree["key"] != facts_key(facts):
        raise _damaged(path, "its facts are not those of its key")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise _damaged(path, "its labels are no whole numbers")

    # Whoever wrote facts with a matching key may still have written them by hand.
    views = facts.get("views")
    is_views = isinstance(views, list) and views and type(views[0]) is int and views[0] > 0
    widths = [facts.get(f"{stream} width", 0) for stream in ("semantic", "motion")]
    is_widths = all(type(width) is int and width >= 0 for width in widths) and any(widths)
    is_known = facts.get("dtype") in _DTYPES and facts.get("encoder", "torch") in _ENCODERS
    if not is_views or not is_widths or not is_known:
        raise _damaged(path, "its facts are incomplete")
    return CacheIndex(tree["key"], facts, tuple(labels))


def write_index(folder: Path, facts: dict[str, Any], labels: Sequence[int]) -> None:
    """Write the index of a complete cache.

    Args:
        folder: the cache.
        facts: everything that its content depends on, as JSON types.
        labels: label of each row.
    """
    index = {"key": facts_key(facts), "facts": facts, "labels": list(labels)}
    write_atomic(folder / INDEX, json.dumps(index))


def _damaged(path: Path, problem: str) -> UsageError:
    """Return the error of an index that cannot be used."""
    return UsageError(
        f"{path} is damaged ({problem}).", "Remove it; `gasmcast cache` writes it again."
    )
