"""Pool cached backbone taps to one vector per clip, in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.progress import Progress, silent

__all__ = ["pool_taps"]

STAGE = "reading features"


def pool_taps(
    clips: FeatureDataset,
    shapes: Sequence[tuple[int, ...]],
    rows: Sequence[int] | NDArray[np.integer],
    progress: Progress = silent,
) -> list[NDArray[np.float32]]:
    """Return `(N, S * channels)` for each tap: the mean over its cells, segments side by side.

    Args:
        clips: an open cache; each clip is read as evaluation sees it.
        shapes: `(S, ..., channels)` of each tap, in the order of a row of the cache.
        rows: positions of the N clips.
        progress: called after each clip.
    """
    plain = clips.plain()
    sizes = np.cumsum([prod(shape) for shape in shapes])[:-1]
    pooled: list[list[NDArray[np.float32]]] = [[] for _ in shapes]

    # One row at a time: the rows of all clips together may not fit into memory.
    for number, position in enumerate(rows):
        row = plain[int(position)][0].float().numpy()
        for tap, part, shape in zip(pooled, np.split(row, sizes), shapes, strict=True):
            cells = part.reshape(shape[0], -1, shape[-1])  # (S, cells, channels)
            tap.append(cells.mean(1).reshape(-1))
        progress(STAGE, number + 1, len(rows))
    return [np.stack(tap) for tap in pooled]
