"""The files of a graph: the ONNX file and its external weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["graph_files", "graph_sha256", "has_external_weights"]


def has_external_weights(onnx: Path) -> bool:
    """Return whether an ONNX file has its weights in `<file>.data`."""
    return _weights(onnx).is_file()


def graph_files(onnx: Path) -> list[Path]:
    """Return an ONNX file and, if it has them, its external weights."""
    return [onnx, _weights(onnx)] if has_external_weights(onnx) else [onnx]


def graph_sha256(onnx: Path) -> str:
    """Return the SHA-256 of an ONNX file followed by its external weights."""
    # In blocks, because weights may be larger than the free memory.
    digest = hashlib.sha256()
    for path in graph_files(onnx):
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)

    return digest.hexdigest()


def _weights(onnx: Path) -> Path:
    return onnx.with_name(onnx.name + ".data")
