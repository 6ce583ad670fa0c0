"""Files that are whole or not there: written under a temporary name, then renamed; and JSON of ours that is damaged all the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from gasmcast.errors import UsageError

__all__ = ["atomic_path", "read_json", "sha256_of", "write_atomic"]

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


def read_json(path: Path, kind: type[T], *keys: str) -> T:
    """What a JSON file holds that a command of ours has written and can write anew.

    Args:
        path: the file.
        kind: `dict` or `list`.
        keys: what a `dict` must have.

    Raises:
        UsageError: it is damaged: no JSON, something else than a `kind`, or without one of the keys.
    """
    wrong = ""
    try:
        held = json.loads(path.read_bytes())
    except ValueError as error:
        wrong = str(error)
    else:
        if not isinstance(held, kind):
            wrong = f"it holds no {kind.__name__}"
        elif lacking := [key for key in keys if key not in held]:
            wrong = f"it lacks {', '.join(lacking)}"
    if wrong:
        raise UsageError(
            f"{path} is damaged ({wrong}).", "Remove it: the command that made it makes it again."
        )
    return cast("T", held)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
