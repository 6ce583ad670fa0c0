"""Fingerprints of what a feature cache was computed from: backbone weights and video files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from gasmcast.data.annotations import Sample
from gasmcast.tensorfile import digest

__all__ = ["clips_sha", "weights_sha"]

END_BYTES = 4096


def weights_sha(backbone: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers of a backbone."""
    return digest(backbone.state_dict())


def clips_sha(samples: Sequence[Sample]) -> str:
    """Return the SHA-256 of names, classes, times, file sizes and ends (4 kB) of files.

    The ends reveal a video that was replaced by one of the same size. The modification time would
    cost less (0.01 ms a file instead of 0.04), but a set that is copied to another disk gets new
    times; more of each file would read a good part of the whole set.
    """
    total = hashlib.sha256()
    for sample in samples:
        size, ends = -1, b""
        if sample.path is not None and sample.path.is_file():
            size, ends = _read_ends(sample.path)
        total.update(f"{sample.id} {sample.label} {size}\n".encode() + ends)
        # Whole videos keep the digests of caches that were filled before spans were supported.
        if sample.is_segment:
            times = f"{sample.start_s} {sample.end_s} {sample.context_s}\n"
            total.update(times.encode())
    return total.hexdigest()


def _read_ends(path: Path) -> tuple[int, bytes]:
    """Return the size of a file in bytes, and its first and last 4 kB."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(END_BYTES)
        file.seek(max(0, size - END_BYTES))
        return size, first + file.read(END_BYTES)
