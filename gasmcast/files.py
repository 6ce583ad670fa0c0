"""Files that are whole or not there: written under a temporary name, then renamed; and JSON of ours that is damaged all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gasmcast.errors import UsageError

__all__ = ["atomic_path", "read_json", "write_atomic"]

T = TypeVar("T", dict[str, Any], list[Any])


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, of the same ending; renamed to it on success, removed on any error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield draft
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing."""
    with atomic_path(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def read_json(path: Path, kind: type[T]) -> T:
    """What a JSON file holds that a command of ours has written and can write anew.

    Raises:
        UsageError: it is damaged, or holds something else than a `kind`.
    """
    try:
        held = json.loads(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}).", "Remove it: the command that made it makes it again.") from None
    if not isinstance(held, kind):
        raise UsageError(f"{path} is damaged (it holds no {kind.__name__}).", "Remove it: the command that made it makes it again.")
    return held
