"""The files of a graph (ONNX and its external weights), read once for checking and for loading.

A file that is hashed and then opened a second time may have been replaced in between. So a graph is
copied once, hashed and scanned as a copy, and an engine loads that copy.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gasmcast.errors import UsageError
from gasmcast.runtime.engines.onnx_scan import GraphScan, scan_graph
from gasmcast.runtime.engines.shortage import raise_if_shortage

__all__ = [
    "GraphCopy",
    "copy_verified",
    "graph_sha256",
    "has_external_weights",
    "verified_graph",
]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class GraphCopy:
    """Private copy of a graph: what an engine loads is what was hashed."""

    source: str | bytes
    """Path of the copy, or its content where the system has no files in memory."""
    sha256: str
    """Digest of the ONNX file followed by its external weights."""
    size: int
    """Bytes of the ONNX file and its external weights."""


def has_external_weights(onnx: Path) -> bool:
    """Return whether an ONNX file has its weights in `<file>.data`."""
    return _weights(onnx).is_file()


def graph_sha256(onnx: Path) -> str:
    """Return the SHA-256 of an ONNX file followed by its external weights."""
    # In blocks, because weights may be larger than the free memory.
    digest = hashlib.sha256()
    for path in [onnx, _weights(onnx)] if has_external_weights(onnx) else [onnx]:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)

    return digest.hexdigest()


@contextmanager
def verified_graph(
    onnx: Path, sha256: str | None = None, weights_sha256: str | None = None
) -> Iterator[GraphCopy]:
    """Copy a graph, check the copy, and yield it; it is gone after the block.

    On Linux the copy is a file in memory, which engines parse without a second copy in Python.

    Args:
        onnx: the ONNX file.
        sha256: checksum that it must have, from the bundle's manifest; None: not checked.
        weights_sha256: checksum of its external weights, from the bundle's manifest.

    Raises:
        UsageError: not an ONNX file, another checksum, external weights that the bundle does not
            list, or a graph that could exhaust the machine.
        MachineError: not enough memory or file descriptors.
    """
    with _memory_copy(onnx) as (source, view, digest):
        _require(onnx, digest, sha256)
        external = _external(scan_graph(view, onnx.name), onnx, sha256, weights_sha256)
        size = len(view)
        del view
        if not external:
            yield GraphCopy(source, digest, size)
            return

    # Engines look for external weights beside the graph's path, so both go into a private folder.
    with tempfile.TemporaryDirectory(prefix="gasmcast-graph-") as folder:
        copy, combined = copy_verified(onnx, Path(folder), sha256, weights_sha256)
        total = copy.stat().st_size + _weights(copy).stat().st_size
        yield GraphCopy(str(copy), combined, total)


def copy_verified(
    onnx: Path, folder: Path, sha256: str | None = None, weights_sha256: str | None = None
) -> tuple[Path, str]:
    """Copy a graph and its external weights into a private folder, and check the copies.

    Args:
        onnx: the ONNX file.
        folder: folder that only this user can write.
        sha256: as for `verified_graph`.
        weights_sha256: as for `verified_graph`.

    Returns:
        The copy of the ONNX file, and the digest of both files one after the other.

    Raises:
        UsageError: as for `verified_graph`.
    """
    combined = hashlib.sha256()
    copy = folder / onnx.name
    _require(onnx, _copy(onnx, copy, combined), sha256)

    # A graph of 0 bytes cannot be mapped, and is none.
    with copy.open("rb") as stream, _mapped(stream.fileno()) as view:
        external = _external(scan_graph(view, onnx.name), onnx, sha256, weights_sha256)
    # A file of weights that the graph does not read counts for the digest, as in `graph_sha256`.
    if has_external_weights(onnx):
        digest = _copy(_weights(onnx), _weights(copy), combined)
        _require(_weights(onnx), digest, weights_sha256 if external else None)
    return copy, combined.hexdigest()


def _external(scan: GraphScan, onnx: Path, sha256: str | None, weights_sha256: str | None) -> bool:
    """Return whether a graph has external weights, and refuse those that may not be loaded."""
    if not scan.external:
        return False
    weights = _weights(onnx)

    # Another name could lead to any file of the machine.
    other = sorted(scan.external - {weights.name})
    if other:
        raise UsageError(
            f"{onnx} reads weights from {other[0]!r}, and only {weights.name} is allowed.",
            "Do not use this bundle.",
        )
    if sha256 is not None and weights_sha256 is None:
        raise UsageError(
            f"{onnx} reads weights from {weights.name}, which the bundle does not list.",
            "Do not use this bundle, or export it again.",
        )
    if not weights.is_file():
        raise UsageError(
            f"{onnx} lacks its weights {weights.name}.", "Copy the whole bundle, or export again."
        )
    return True


@contextmanager
def _memory_copy(path: Path) -> Iterator[tuple[str | bytes, memoryview, str]]:
    """Yield the copy of a file (a path or bytes), a view of its content, and its SHA-256."""
    descriptor = _memory_file(path.name)
    if descriptor is None:
        content = path.read_bytes()
        yield content, memoryview(content), hashlib.sha256(content).hexdigest()
        return

    try:
        digest = hashlib.sha256()
        with path.open("rb") as stream, open(descriptor, "wb", closefd=False) as copy:
            while block := stream.read(_BLOCK):
                digest.update(block)
                copy.write(block)
        with _mapped(descriptor) as view:
            yield f"/proc/self/fd/{descriptor}", view, digest.hexdigest()
    except OSError as error:
        raise_if_shortage(error, f"{path.name} cannot be read")
        raise
    finally:
        os.close(descriptor)


def _memory_file(name: str) -> int | None:
    """Return the descriptor of an empty file in memory; None where the system has none."""
    if not hasattr(os, "memfd_create") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.memfd_create(name)
    except OSError:
        return None


@contextmanager
def _mapped(descriptor: int) -> Iterator[memoryview]:
    """Map a file into memory, and yield a view of it."""
    if os.fstat(descriptor).st_size == 0:
        yield memoryview(b"")
        return

    # Unmapped with its last reference: an error that is under way may still hold parts of it.
    yield memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))


def _copy(path: Path, target: Path, combined: hashlib._Hash) -> str:
    """Copy a file, feed a digest with it, and return its own SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as stream, target.open("wb") as out:
        while block := stream.read(_BLOCK):
            digest.update(block)
            combined.update(block)
            out.write(block)
    return digest.hexdigest()


def _require(path: Path, digest: str, wanted: str | None) -> None:
    if wanted is not None and digest != wanted:
        raise UsageError(
            f"{path} is not the file that was exported (checksum).",
            "Copy it again from its origin, or export again.",
        )


def _weights(onnx: Path) -> Path:
    return onnx.with_name(onnx.name + ".data")
