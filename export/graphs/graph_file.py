"""Read, write and remove ONNX files, with their weights where these do not fit in one file."""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
from onnx import ModelProto

from gasmcast.errors import UsageError
from gasmcast.files import atomic_path

__all__ = ["load_graph", "remove_graph", "save_graph"]

INLINE_BYTES = 1_900_000_000
"""Largest graph with its weights inside; protobuf ends at 2 GB."""


def load_graph(path: Path, weights: bool = True) -> ModelProto:
    """Read an ONNX file.

    Args:
        path: ONNX file.
        weights: read weights that are stored in a second file too.

    Raises:
        UsageError: no such file, or it is truncated or not ONNX.
    """
    try:
        return onnx.load(str(path), load_external_data=weights)
    except FileNotFoundError:
        raise UsageError(f"There is no ONNX file {path}.", "Export the checkpoint again.") from None
    except Exception as error:  # noqa: BLE001 - many types for a damaged file
        detail = (str(error).splitlines() or ["unreadable"])[0]
        raise UsageError(
            f"{path} is truncated or not an ONNX file ({detail}).",
            "Copy it again, or export the checkpoint again.",
        ) from None


def save_graph(model: ModelProto, path: Path) -> Path:
    """Write a graph; above 1.9 GB its weights go into a second file, `<file>.data`.

    Returns:
        `path`.
    """
    # A single file cannot be separated from its weights by accident.
    if model.ByteSize() < INLINE_BYTES:
        with atomic_path(path) as draft:
            onnx.save(model, str(draft))
        return path

    # `onnx.save` moves the weights out of the model that it is given, and appends to an old file.
    data = _weights_path(path)
    data.unlink(missing_ok=True)
    onnx.save(
        copy.deepcopy(model),
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
    )
    return path


def remove_graph(path: Path) -> None:
    """Remove a graph, and its file of weights if it has one."""
    path.unlink()
    _weights_path(path).unlink(missing_ok=True)


def _weights_path(path: Path) -> Path:
    return path.with_name(path.name + ".data")
