"""Write files atomically, open named pipes, read JSON that gasmcast wrote, and hash files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from json import detect_encoding
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from gasmcast.errors import MachineError, UsageError

__all__ = [
    "atomic_path",
    "load_json",
    "open_fifo",
    "read_json",
    "sha256_of",
    "write_atomic",
]

T = TypeVar("T", dict[str, Any], list[Any])


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it on success, remove it on error.

    Missing parent folders are created. The content is flushed to disk before the rename.
    """
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
    """Write a complete file, or leave the old one unchanged."""
    with atomic_path(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def open_fifo(path: Path, timeout_s: float = 5.0) -> BinaryIO:
    """Open a named pipe for unbuffered writing as soon as somebody reads it.

    Args:
        path: the named pipe.
        timeout_s: how long to wait for a reader; the plain `open` would wait forever.

    Raises:
        MachineError: nobody reads it.
        OSError: it cannot be opened.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() >= deadline:
                raise MachineError(
                    f"{path} is a named pipe that nobody reads.", "Start its reader first."
                ) from None
            time.sleep(0.05)
            continue

        # Only opening must not block: a slow reader may make a writer wait.
        os.set_blocking(descriptor, True)
        return open(descriptor, "wb", buffering=0)  # noqa: PTH123 - a descriptor has no path


def load_json(content: bytes | str) -> Any:  # noqa: ANN401 - whatever the text holds
    """Return the data of a JSON text, with or without a byte order mark.

    Args:
        content: the text, or its bytes in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: it is not JSON, nested too deeply, or holds half a surrogate pair, which is no
            character and could not be printed or written.
    """
    try:
        # `detect_encoding` knows the byte order mark of Excel and PowerShell.
        text = content if isinstance(content, str) else content.decode(detect_encoding(content))
        tree = json.loads(text)

        # Bytes are decoded strictly, so half a pair can only come from an escape.
        if "\\u" in text:
            json.dumps(tree, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return tree


def read_json(path: Path, kind: type[T], *keys: str) -> T:
    """Read a JSON file that a gasmcast command wrote and can write again.

    Args:
        path: the file.
        kind: `dict` or `list`.
        keys: required keys of a `dict`.

    Raises:
        UsageError: the file is damaged: not JSON, not of this kind, or without a required key.
    """
    problem = ""
    try:
        tree = load_json(path.read_bytes())
    except ValueError as error:
        problem = str(error)
    else:
        if not isinstance(tree, kind):
            problem = f"it holds no {kind.__name__}"
        elif missing := [key for key in keys if key not in tree]:
            problem = f"it lacks {', '.join(missing)}"

    if problem:
        raise UsageError(
            f"{path} is damaged ({problem}).",
            "Remove it; the command that wrote it writes it again.",
        )
    return cast("T", tree)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
