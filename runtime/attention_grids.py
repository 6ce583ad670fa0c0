"""Turn attention maps of a window into grids that lie over its frames.

A map is a plain array by the names of `gasmcast.models.attention_layout`; a grid has the patches or
cells of one frame as `(rows, cols)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "graph_grid",
    "layers_of",
    "patches_heard",
    "read_out_grids",
    "segments_heard",
    "to_json",
]

Floats = NDArray[np.floating]
Maps = Mapping[str, Floats]
_DIGITS = 5


def read_out_grids(maps: Maps) -> dict[str, Floats]:
    """Return where each read-out looks: name -> `(T, rows, cols)` or `(S, rows, cols)`.

    The weights of all frames or segments together sum to 1.
    """
    prefix = "read_out."
    return {
        name.removeprefix(prefix): _square(values)
        for name, values in maps.items()
        if name.startswith(prefix)
    }


def layers_of(maps: Maps, name: str) -> list[int]:
    """Return the layers that have a map of this name, in order."""
    prefix = f"{name}."
    return sorted(int(key.removeprefix(prefix)) for key in maps if key.startswith(prefix))


def segments_heard(maps: Maps, layer: int) -> Floats | None:
    """Return which segments the patches listen to (semantic <- motion).

    Returns:
        `(S, T, rows, cols)`: for each segment, the share that each patch of each frame gives it;
        the shares of a patch sum to 1. None if the layer lacks this direction.
    """
    weights = maps.get(f"semantic_from_motion.{layer}")  # (T, P, S) or (T, P, S, C)
    if weights is None:
        return None
    shares = weights.sum(-1) if weights.ndim == 4 else weights  # (T, P, S)
    return _square(np.moveaxis(shares, -1, 0))


def patches_heard(maps: Maps, layer: int) -> Floats | None:
    """Return which patches the cells of each segment listen to (motion <- semantic).

    Returns:
        `(S, rows, cols)`: mean over the cells of a segment and sum over the frames they attend to;
        each grid sums to 1. None if the layer lacks this direction.
    """
    weights = maps.get(f"motion_from_semantic.{layer}")  # (S, C, f, P)
    return None if weights is None else _square(weights.mean(1).sum(1))


def graph_grid(maps: Maps, layer: int, frame: int, patch: int) -> Floats | None:
    """Return which patches one patch listens to in the semantic graph, `(rows, cols)`.

    None if the layer has no semantic graph.
    """
    weights = maps.get(f"semantic_graph.{layer}")  # (frames, P, P)
    return None if weights is None else _square(weights[frame, patch])


def to_json(grid: Floats) -> dict[str, Any]:
    """Return a grid as `{"rows", "cols", "values"}`, the values row by row."""
    rows, cols = grid.shape
    values = [round(float(value), _DIGITS) for value in grid.ravel()]
    return {"rows": rows, "cols": cols, "values": values}


def _square(values: Floats) -> Floats:
    """Reshape the last axis, the places of a square, to rows and columns."""
    side = round(values.shape[-1] ** 0.5)
    return values.reshape(*values.shape[:-1], side, side)
