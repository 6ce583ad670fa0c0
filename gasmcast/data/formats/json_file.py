"""Read a JSON annotation file, of a size that fits into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gasmcast.errors import UsageError
from gasmcast.files import load_json

__all__ = ["MAX_BYTES", "read_json_file"]

MAX_BYTES = 512 << 20
"""Largest JSON file: a parsed one takes about five times its size in memory."""


def read_json_file(path: Path) -> Any:  # noqa: ANN401 - each format checks what it gets
    """Return the data of a JSON file.

    Raises:
        UsageError: the file is too large, cannot be read, or is not JSON.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UsageError(
            f"{path} has {size / 1e9:.1f} GB; JSON is read as a whole, up to"
            f" {MAX_BYTES / 1e9:.1f} GB.",
            "Split it, or write one clip a line as JSONL or CSV, which is read in pieces.",
        )
    try:
        return load_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not JSON ({error}).", "Export it again.") from None
