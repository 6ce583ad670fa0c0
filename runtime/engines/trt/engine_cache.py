"""Built engines kept between runs: outside the bundle, private to the user, refused when anything differs.

A TensorRT engine is native code: whoever can write one can run code here. So the folder belongs to the user alone
(0700), each engine lies beside a sidecar with its checksum and all that it depends on, and what is read is checked
before TensorRT sees it. What is refused is built again.
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

__all__ = [
    "CachedEngine",
    "EngineCache",
    "EngineKey",
    "Lookup",
    "graph_files",
    "graph_sha256",
    "user_cache",
]


@dataclass(frozen=True)
class Lookup:
    """What the cache had: the engine, or why there is none."""

    plan: bytes | None
    why: str = ""

    def __bool__(self) -> bool:
        return self.plan is not None


@dataclass(frozen=True)
class CachedEngine:
    """One engine on disk, for listing."""

    path: Path
    key: EngineKey
    size: int
    build_s: float


class EngineCache:
    """The folder of built engines."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_cache("engines")

    def open(self) -> Path:
        """The folder, made where it is missing.

        Raises:
            MachineError: it cannot be made, is not a folder of this user, or others may enter it.
        """
        hint = "Set XDG_CACHE_HOME to a folder of yours."
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            state = self.folder.lstat()
        except OSError as error:
            raise MachineError(
                f"The engine cache {self.folder} cannot be used ({error.strerror}).", hint
            ) from None
        if not stat.S_ISDIR(state.st_mode):
            raise MachineError(f"The engine cache {self.folder} is a link, not a folder.", hint)
        if hasattr(os, "geteuid"):  # Windows has neither owners nor modes of this kind
            if state.st_uid != os.geteuid():
                raise MachineError(f"The engine cache {self.folder} belongs to another user.", hint)
            if state.st_mode & 0o077:
                raise MachineError(
                    f"Others may read or write the engine cache {self.folder}, and an engine is native code.",
                    f"Remove it, or if you trust what is in it: chmod 700 {self.folder}",
                )
        return self.folder

    def plan_path(self, key: EngineKey) -> Path:
        """Where the engine of `key` lies."""
        return self.folder / f"{key.stem}.plan"

    def timing_path(self, key: EngineKey) -> Path:
        """Where the builder keeps its kernel timings: one file a backend version and device, shared by all graphs."""
        digest = hashlib.sha256(
            f"{key.backend} {key.version} {key.device} {key.sm}".encode()
        ).hexdigest()
        return self.folder / f"timing-{digest[:20]}.cache"

    def load(self, key: EngineKey) -> Lookup:
        """The engine of `key`, its checksum compared; or why it must be built.

        Raises:
            MachineError: see `open`.
        """
        self.open()
        path = self.plan_path(key)
        try:
            sidecar = json.loads(_read_own(path.with_suffix(".json")))
            plan = _read_own(path)
        except FileNotFoundError:
            return Lookup(None, self._nearest(key))
        except (OSError, ValueError) as error:
            return Lookup(None, f"{path.name} is not a sound engine of this user ({error})")
        if not isinstance(sidecar, dict) or sidecar.get("key") != asdict(key):
            return Lookup(None, f"{path.name} is the engine of something else")
        if hashlib.sha256(plan).hexdigest() != sidecar.get("sha256"):
            return Lookup(None, f"{path.name} is not the file that was built (checksum)")
        return Lookup(plan)

    def store(self, key: EngineKey, plan: bytes, build_s: float) -> Path:
        """Keep an engine; the sidecar comes last, so that half a store is no engine.

        Raises:
            MachineError: see `open`; or the disk is full.
        """
        self.open()
        path = self.plan_path(key)
        record = {
            "key": asdict(key),
            "sha256": hashlib.sha256(plan).hexdigest(),
            "size": len(plan),
            "build_s": round(build_s, 1),
        }
        try:
            self.discard(key)
            for name, content in (
                (path, plan),
                (path.with_suffix(".json"), json.dumps(record, indent=1).encode()),
            ):
                write_atomic(name, content)
                name.chmod(0o600)
        except OSError as error:
            raise MachineError(
                f"The engine {path} cannot be written ({error.strerror}).", "Free some disk space."
            ) from None
        return path

    def discard(self, key: EngineKey) -> None:
        """Forget the engine of `key`."""
        path = self.plan_path(key)
        for name in (path.with_suffix(".json"), path):
            name.unlink(missing_ok=True)

    def entries(self) -> list[CachedEngine]:
        """All engines of the folder, of this device or another, by name.

        Raises:
            MachineError: see `open`.
        """
        found = []
        for path in sorted(self.open().glob("*.json")):
            entry = _entry(path)
            if entry is not None:
                found.append(entry)
        return found

    def clear(self) -> int:
        """Remove all engines and timings, and what killed builds left; how many bytes that freed.

        Raises:
            MachineError: see `open`.
        """
        freed = 0
        for left in self.open().glob(".build-*"):
            freed += sum(path.stat().st_size for path in left.iterdir())
            shutil.rmtree(left, ignore_errors=True)
        for path in self.folder.iterdir():
            if path.suffix in {".plan", ".json", ".cache", ".lock"} and path.is_file():
                freed += path.stat().st_size
                path.unlink()
        return freed

    @contextmanager
    def building(self, key: EngineKey) -> Iterator[None]:
        """Hold the right to build `key`: a second process waits, and then finds the engine there.

        Raises:
            MachineError: see `open`.
        """
        self.open()
        path = self.folder / f"{key.stem}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                import fcntl  # noqa: PLC0415 - Windows has none: two processes there may build the same engine twice

                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except ImportError:
                pass
            yield
        finally:
            os.close(descriptor)

    def _nearest(self, key: EngineKey) -> str:
        """Why engines of the same graph do not serve, by the one with the fewest differences."""
        best: list[str] = []
        for entry in self.entries():
            if (entry.key.graph, entry.key.precision) != (key.graph, key.precision):
                continue
            differing = [
                f.name for f in fields(key) if getattr(entry.key, f.name) != getattr(key, f.name)
            ]
            if differing and (not best or len(differing) < len(best)):
                best = [
                    _difference(name, getattr(entry.key, name), getattr(key, name))
                    for name in differing
                ]
        return f"the engine there is of {', '.join(best)}" if best else "not built yet"


def _entry(sidecar_path: Path) -> CachedEngine | None:
    """What a sidecar says; None where it is not one of ours, which `load` refuses too."""
    try:
        sidecar = json.loads(_read_own(sidecar_path))
        key = EngineKey(**sidecar["key"])
        return CachedEngine(
            sidecar_path.with_suffix(".plan"), key, int(sidecar["size"]), float(sidecar["build_s"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _difference(name: str, have: str, want: str) -> str:
    if name == "graph_sha256":
        return "another graph file"
    return f"{name} {have}, not {want}"


def _read_own(path: Path) -> bytes:
    """A regular file of this user that nobody else may write, read through one descriptor (no swap between check and use)."""
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    )
    with os.fdopen(descriptor, "rb") as stream:
        state = os.fstat(stream.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError("not a regular file")
        if hasattr(os, "geteuid") and (state.st_uid != os.geteuid() or state.st_mode & 0o022):
            raise OSError("others may write it")
        return stream.read()
