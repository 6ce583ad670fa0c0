"""Cache of built engines: outside the bundle, private to the user, invalid if anything differs.

A TensorRT engine is native code: whoever can write one can run code as this user. The folder
therefore belongs to the user alone (mode 0700), each engine has a sidecar with its checksum and its
key, and both are checked before TensorRT reads the file. An invalid engine is built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gasmcast.errors import MachineError
from gasmcast.files import write_atomic
from gasmcast.runtime.engines.trt.engine_key import EngineKey
from gasmcast.runtime.engines.user_cache import make_private, private_folder, user_cache

__all__ = ["CachedEngine", "EngineCache", "Lookup"]


@dataclass(frozen=True)
class Lookup:
    """Result of a lookup: the engine, or why there is none. Truthy when there is one."""

    plan: bytes | None
    why: str = ""

    def __bool__(self) -> bool:
        return self.plan is not None


@dataclass(frozen=True)
class CachedEngine:
    """One engine on disk, for listings."""

    path: Path
    key: EngineKey
    size: int
    build_s: float


class EngineCache:
    """The folder of built engines.

    Args:
        folder: where engines are kept; None: `engines` in the user's cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_cache("engines")

    def open(self) -> Path:
        """Return the folder, created if missing.

        Raises:
            MachineError: it cannot be created, is not a folder of this user, or others may access
                it.
        """
        hint = "Set XDG_CACHE_HOME to a folder of yours."
        try:
            make_private(self.folder)
            state = self.folder.lstat()
        except OSError as error:
            raise MachineError(
                f"The engine cache {self.folder} cannot be used ({error.strerror}).", hint
            ) from None

        # An attacker could place a link or a shared folder where we expect our own.
        if not stat.S_ISDIR(state.st_mode):
            raise MachineError(f"The engine cache {self.folder} is a link, not a folder.", hint)
        if hasattr(os, "geteuid"):  # Windows has neither owners nor modes of this kind
            if state.st_uid != os.geteuid():
                raise MachineError(f"The engine cache {self.folder} belongs to another user.", hint)
            if state.st_mode & 0o077:
                raise MachineError(
                    f"Others may read or write the engine cache {self.folder}, "
                    "and an engine is native code.",
                    f"Remove it, or if you trust what is in it: chmod 700 {self.folder}",
                )

        # Who can write into a folder above could put another one in its place.
        return private_folder(self.folder)

    def plan_path(self, key: EngineKey) -> Path:
        """Return the path of the engine of `key`."""
        return self.folder / f"{key.stem}.plan"

    def timing_path(self, key: EngineKey) -> Path:
        """Return the path of the builder's kernel timings.

        There is one file per backend version and device, shared by all graphs.
        """
        text = f"{key.backend} {key.version} {key.device} {key.sm}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self.folder / f"timing-{digest[:20]}.cache"

    def load(self, key: EngineKey) -> Lookup:
        """Return the engine of `key` after comparing its checksum, or why it must be built.

        Raises:
            MachineError: see `open`.
        """
        # Other users must not be able to place an engine where this one looks.
        self.open()
        path = self.plan_path(key)
        try:
            sidecar = json.loads(_read_private(path.with_suffix(".json")))
            plan = _read_private(path)
        except FileNotFoundError:
            return Lookup(None, self._nearest(key))
        except (OSError, ValueError) as error:
            return Lookup(None, f"{path.name} is not a sound engine of this user ({error})")

        # The file name is only a digest; the sidecar has the whole key.
        if not isinstance(sidecar, dict) or sidecar.get("key") != asdict(key):
            return Lookup(None, f"{path.name} is the engine of something else")
        # A damaged engine can crash the process that loads it.
        if hashlib.sha256(plan).hexdigest() != sidecar.get("sha256"):
            return Lookup(None, f"{path.name} is not the file that was built (checksum)")
        return Lookup(plan)

    def store(self, key: EngineKey, plan: bytes, build_s: float) -> Path:
        """Write an engine and its sidecar, and return the engine's path.

        Raises:
            MachineError: see `open`; or the disk is full.
        """
        self.open()
        path = self.plan_path(key)
        # Size and build time are for listings; the checksum is for `load`.
        record = {
            "key": asdict(key),
            "sha256": hashlib.sha256(plan).hexdigest(),
            "size": len(plan),
            "build_s": round(build_s, 1),
        }
        sidecar = json.dumps(record, indent=1).encode()

        # The sidecar comes last: an engine without one is not loaded.
        try:
            self.discard(key)
            for file, content in ((path, plan), (path.with_suffix(".json"), sidecar)):
                write_atomic(file, content)
                file.chmod(0o600)
        except OSError as error:
            raise MachineError(
                f"The engine {path} cannot be written ({error.strerror}).", "Free some disk space."
            ) from None
        return path

    def discard(self, key: EngineKey) -> None:
        """Delete the engine of `key`."""
        path = self.plan_path(key)
        # The sidecar goes first: without it the engine is not loaded.
        for file in (path.with_suffix(".json"), path):
            file.unlink(missing_ok=True)

    def entries(self) -> list[CachedEngine]:
        """Return all engines in the folder, for this device and others, sorted by name.

        Raises:
            MachineError: see `open`.
        """
        entries = []
        # Only sidecars: an engine without one is not valid.
        for path in sorted(self.open().glob("*.json")):
            entry = _entry(path)
            if entry is not None:
                entries.append(entry)
        return entries

    def clear(self) -> int:
        """Delete all engines, timings and the remains of killed builds; return the bytes freed.

        Raises:
            MachineError: see `open`.
        """
        freed = 0
        for folder in self.open().glob(".build-*"):
            freed += sum(path.stat().st_size for path in folder.iterdir())
            shutil.rmtree(folder, ignore_errors=True)

        # Only our own kinds of files: the folder may be one that the user named.
        for path in self.folder.iterdir():
            if path.suffix in {".plan", ".json", ".cache", ".lock"} and path.is_file():
                freed += path.stat().st_size
                path.unlink()
        return freed

    @contextmanager
    def building(self, key: EngineKey) -> Iterator[None]:
        """Hold the lock for building `key`; a second process waits and then finds the engine.

        Raises:
            MachineError: see `open`.
        """
        self.open()
        path = self.folder / f"{key.stem}.lock"
        # The lock file stays: deleting it could let two processes lock different files.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                import fcntl  # noqa: PLC0415 - Windows has none: two processes may build there

                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except ImportError:
                pass
            yield
        finally:
            os.close(descriptor)

    def _nearest(self, key: EngineKey) -> str:
        """Return how the most similar engine of the same graph differs from `key`."""
        # The most similar engine tells the user best what changed.
        fewest: list[str] = []
        for entry in self.entries():
            if (entry.key.graph, entry.key.precision) != (key.graph, key.precision):
                continue

            differing = [
                field.name
                for field in fields(key)
                if getattr(entry.key, field.name) != getattr(key, field.name)
            ]
            if differing and (not fewest or len(differing) < len(fewest)):
                fewest = [
                    _difference(name, getattr(entry.key, name), getattr(key, name))
                    for name in differing
                ]
        return f"the cached engine has {', '.join(fewest)}" if fewest else "not built yet"


def _entry(sidecar_path: Path) -> CachedEngine | None:
    """Read a sidecar; None if it is not one of ours, which `load` refuses too."""
    try:
        sidecar = json.loads(_read_private(sidecar_path))
        return CachedEngine(
            path=sidecar_path.with_suffix(".plan"),
            key=EngineKey(**sidecar["key"]),
            size=int(sidecar["size"]),
            build_s=float(sidecar["build_s"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _difference(name: str, have: str, want: str) -> str:
    if name == "graph_sha256":
        return "another graph file"
    return f"{name} {have}, not {want}"


def _read_private(path: Path) -> bytes:
    """Read a regular file of this user that nobody else may write.

    Checks and read use one descriptor, so the file cannot be swapped between them.
    """
    # Not through a link: its target could belong to somebody else.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as stream:
        state = os.fstat(stream.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError("not a regular file")
        if hasattr(os, "geteuid") and (state.st_uid != os.geteuid() or state.st_mode & 0o022):
            raise OSError("others may write it")
        return stream.read()
