"""The cache folder of the user, for what can be computed again, and the check that it is private.

A cache holds compiled networks. Whoever can write into it decides what the cameras see, so a folder
is used only if nobody else can change it or replace it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gasmcast.errors import MachineError

__all__ = ["make_private", "private_folder", "user_cache"]

_OTHERS_WRITE = 0o022


def user_cache(*parts: str) -> Path:
    """Return a path under `$XDG_CACHE_HOME/gasmcast`, or under `~/.cache/gasmcast`.

    Raises:
        MachineError: neither the variable nor a home folder is known.
    """
    # The XDG specification: a relative path is invalid and ignored.
    base = os.environ.get("XDG_CACHE_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base).joinpath("gasmcast", *parts)
    try:
        return Path.home().joinpath(".cache", "gasmcast", *parts)
    except RuntimeError:
        # A user without an entry in passwd, as in many containers.
        raise MachineError(
            "There is no cache folder: this user has no home.",
            "Set XDG_CACHE_HOME to a folder of this user.",
        ) from None


def private_folder(folder: Path) -> Path:
    """Create a cache folder if it is missing, and return it if no other user can change it.

    Folders that are created are of mode 0700. The folder itself must be of this user and not
    writable by others; a folder above it may also belong to root, and may be writable by others
    only with the sticky bit, as /tmp.

    Raises:
        MachineError: it cannot be created, is a link, or others can change or replace it.
    """
    hint = "Set XDG_CACHE_HOME to a folder of yours."
    try:
        make_private(folder)
        state = folder.lstat()
    except OSError as error:
        raise MachineError(f"The cache {folder} cannot be used ({error.strerror}).", hint) from None

    # Another user could have placed a link where we expect our own folder.
    if not stat.S_ISDIR(state.st_mode):
        raise MachineError(f"The cache {folder} is a link or a file, not a folder.", hint)

    # Windows has neither owners nor modes of this kind.
    if hasattr(os, "geteuid"):
        _require_private(folder.resolve(), hint)
    return folder


def make_private(folder: Path) -> None:
    """Create a folder and those above it that are missing, for this user alone.

    Raises:
        OSError: it cannot be created.
    """
    # `Path.mkdir(parents=True)` would give the folders above it the mode of the umask.
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def _require_private(folder: Path, hint: str) -> None:
    """Raise a `MachineError` if another user can write into a folder, or replace it."""
    user = os.geteuid()
    for path in (folder, *folder.parents):
        state = path.stat()
        own = path == folder
        if state.st_uid != user and (own or state.st_uid != 0):
            raise MachineError(
                f"The cache {folder} cannot be trusted: {path} belongs to another user.", hint
            )

        # In a sticky folder only the owner of an entry can replace it.
        sticky = bool(state.st_mode & stat.S_ISVTX) and not own
        if state.st_mode & _OTHERS_WRITE and not sticky:
            raise MachineError(
                f"The cache {folder} cannot be trusted: others may write into {path}.",
                f"If you trust what is in it: chmod go-w {path}. Or set XDG_CACHE_HOME.",
            )
