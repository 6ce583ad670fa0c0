"""Room on the disk for an export, looked at before anything starts."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path

from gasmcast.errors import MachineError
from gasmcast.export.origin import Origin

__all__ = ["check_disk"]


def check_disk(out: Path, origin: Origin, clips: int) -> None:
    """Look for room for a bundle at `out`, and for `clips` held-out clips and what calibration keeps in the temporary folder.

    Raises:
        MachineError: one of the two has too little.
    """
    parent = next(p for p in (out.parent.resolve(), *out.parent.resolve().parents) if p.exists())
    # Encoder and head, and both again as the complete graph, in up to four precisions of 4 + 1 + 2 + 1 bytes a weight.
    weights = sum(p.numel() for p in origin.model.parameters())
    _check_free(
        parent, 2 * 8 * weights + 50_000_000, "Free some disk space, or give another --out."
    )
    # Held-out clips, one trial graph of the search, features. A memory map on a full disk would end the process without a word.
    wanted = clips * math.prod(origin.config.spec.clip_shape) + 4 * weights + 400_000_000
    _check_free(
        Path(tempfile.gettempdir()),
        wanted,
        "Free some disk space, name another folder in TMPDIR, or give fewer --held-out clips.",
    )


def _check_free(folder: Path, wanted: float, hint: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise MachineError(
            f"{folder} has {free / 1e9:.1f} GB free, this export may need {wanted / 1e9:.1f} GB.",
            hint,
        )
