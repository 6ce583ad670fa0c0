"""Cache of what OpenVINO compiled: private to the user, and checked against digests of ours.

OpenVINO itself looks at no owner and at no checksum. One folder per graph and settings holds its
files and `digests.json`; a file that is not in it, or has another digest, is removed before
OpenVINO sees it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from gasmcast.errors import MachineError
from gasmcast.files import sha256_of, write_atomic
from gasmcast.runtime.engines.user_cache import private_folder, user_cache

__all__ = ["compiled_cache"]

_DIGESTS = "digests.json"
_LOCK = ".lock"
_PATIENCE_S = 60.0
"""Longest wait for another process that compiles the same graph; then without the cache."""

_log = logging.getLogger(__name__)
_reported: set[str] = set()


@contextmanager
def compiled_cache(key: str) -> Iterator[Path | None]:
    """Yield OpenVINO's folder for a key; what it writes into it is recorded after the block.

    None means to compile without a cache; the log says why.

    Args:
        key: everything that the compiled network depends on, as a file name.
    """
    try:
        root = private_folder(user_cache("openvino"))
        folder = private_folder(root / key)
        writable = os.access(folder, os.W_OK)
    except MachineError as error:
        _report(f"OpenVINO compiles without a cache. {error}")
        yield None
        return
    if not writable:
        yield None
        return

    # One process compiles, the others wait and then find the result.
    with _locked(folder / _LOCK) as locked:
        if not locked:
            yield None
            return
        _remove_unknown(folder)
        yield folder
        _record(folder)


def _remove_unknown(folder: Path) -> None:
    """Remove files that are not as they were recorded."""
    digests = _read_digests(folder)
    for path in _files(folder):
        if digests.get(path.name) != _digest(path):
            if path.name in digests:
                _log.warning("%s is not the file that was compiled: compiling again", path)
            path.unlink(missing_ok=True)


def _record(folder: Path) -> None:
    """Write the digests of all files, if any is new."""
    old = _read_digests(folder)
    files = _files(folder)
    if {path.name for path in files} == old.keys():
        return
    try:
        digests = {path.name: old.get(path.name) or sha256_of(path) for path in files}
        write_atomic(folder / _DIGESTS, json.dumps(digests))
    except OSError:
        # A full disk: without a record the files are compiled again at the next start.
        _log.debug("no digests in %s", folder, exc_info=True)


def _read_digests(folder: Path) -> dict[str, str]:
    try:
        tree = json.loads((folder / _DIGESTS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name not in (_DIGESTS, _LOCK)]


def _digest(path: Path) -> str:
    """Return the SHA-256 of a regular file; empty for anything else."""
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        return sha256_of(path)
    except OSError:
        return ""


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a lock file; yield False if another process keeps it too long."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has none: two processes may compile there
    except ImportError:
        yield True
        return

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        yield _lock(fcntl, descriptor)
    finally:
        os.close(descriptor)


def _lock(fcntl: ModuleType, descriptor: int) -> bool:
    """Wait for a lock; return False if another process keeps it too long."""
    deadline = time.monotonic() + _PATIENCE_S
    while not _lock_now(fcntl, descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _lock_now(fcntl: ModuleType, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _report(text: str) -> None:
    # Encoder and head have the same reason; one sentence is enough.
    if text not in _reported:
        _reported.add(text)
        _log.warning("%s", text)
