"""Keep two trainings out of one run folder.

A requeued job may start while the old one still runs; each would overwrite the other's state, best
weights and metrics. The lock belongs to the process (`flock`), so the operating system releases it
however the process ends, and nothing stale is left behind but an empty file.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gasmcast.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked
    fcntl = None  # type: ignore[assignment]

__all__ = ["lock_folder"]

LOCK = ".lock"
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_open_locks: set[int] = set()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which is created if it is missing.

    Args:
        folder: the run folder.

    Raises:
        UsageError: another training, of this or another process, holds it.
    """
    # The file stays there: to remove it would let two processes lock two files of one name.
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    _open_locks.add(lock)

    try:
        _take(lock, folder)
        yield
    finally:
        # A training that was refused before it wrote anything leaves no folder behind.
        if is_new and [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
        _open_locks.discard(lock)
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    """Lock an open file and write who holds it, for the error of the next one."""
    if fcntl is None:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 200, 0).decode(errors="replace").strip()
        raise UsageError(
            f"Another training writes into {folder} ({holder or 'of unknown process'}).",
            "Wait until it has ended, or give another --out.",
        ) from None
    except OSError as error:
        # Some network file systems have no locks: training there must still work.
        if error.errno not in _UNSUPPORTED:
            raise
        return

    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _close_inherited() -> None:
    """Close the locks in a forked worker, which would hold them after the training was killed."""
    for lock in _open_locks:
        os.close(lock)
    _open_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
