"""Lay the backbone taps of a clip out as one flat row, the unit of a feature cache."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["TapShapes", "Taps", "pack_rows", "unpack_rows"]


class Taps(NamedTuple):
    """Backbone taps before standardization: one tensor per tap, none for an absent stream."""

    semantic: list[Tensor]
    """`(B n f, P, channels)` each."""
    motion: list[Tensor]
    """`(N, n', h, w, channels)` each, with `N * n' = B * n`: one segment per run, or a whole clip
    per run (`motion_context: clip`).
    """


class TapShapes(NamedTuple):
    """Shapes of one clip's taps."""

    semantic: list[tuple[int, ...]]
    """`(S, f, P, channels)` each."""
    motion: list[tuple[int, ...]]
    """`(S, h, w, channels)` each."""


def pack_rows(taps: Taps, clips: int) -> Tensor:
    """Concatenate the taps of `clips` clips to rows `(B, X)`, semantic taps first."""
    return torch.cat([tap.reshape(clips, -1) for tap in (*taps.semantic, *taps.motion)], 1)


def unpack_rows(rows: Tensor, shapes: TapShapes, *, segments_per_run: int) -> Taps:
    """Cut rows `(B, X)` into the taps that `pack_rows` concatenated.

    Args:
        rows: `(B, X)`.
        shapes: shapes of one clip's taps, in the order of the row.
        segments_per_run: segments that the motion backbone saw at once: 1, or those of a clip.
    """
    sizes = [prod(shape) for shape in (*shapes.semantic, *shapes.motion)]
    parts = torch.split(rows, sizes, dim=1)
    split = len(shapes.semantic)

    # (B, S f P channels) -> (B S f, P, channels)
    semantic = [
        part.reshape(-1, *shape[2:])
        for part, shape in zip(parts[:split], shapes.semantic, strict=True)
    ]

    # (B, S h w channels) -> (N, n', h, w, channels)
    motion = [
        part.reshape(-1, segments_per_run, *shape[1:])
        for part, shape in zip(parts[split:], shapes.motion, strict=True)
    ]
    return Taps(semantic, motion)
