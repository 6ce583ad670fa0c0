"""Choose and arrange the frames of each segment that the two backbones see."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gasmcast.models.shape import CELL, PATCH
from gasmcast.spec import ClipSpec

__all__ = ["mean_of_cells", "motion_runs", "semantic_frames"]


class MotionRuns(NamedTuple):
    """Frames that the motion backbone sees at once, and how its maps are averaged over time."""

    frames: Tensor
    """`(N, T, h, w, 3)`."""
    parts: int
    """Equal parts of a map's time axis that are averaged separately: one per segment."""
    later_half: bool
    """Average the later half of each part only: a pair's current segment."""


def motion_runs(frames: Tensor, context: Literal["previous", "segment", "clip"]) -> MotionRuns:
    """Cut frames into the runs that `motion_context` asks for.

    Args:
        frames: `(B, 1 + n, F, h, w, 3)`, the lead-in first.
        context: each segment with its predecessor, alone, or the whole clip at once.
    """
    current = frames[:, 1:]  # (B, n, F, h, w, 3)

    # The pair gives the first frames of a segment a past; only the later half is read out.
    if context == "previous":
        pairs = torch.cat([frames[:, :-1], current], 2)  # (B, n, 2F, h, w, 3)
        return MotionRuns(pairs.flatten(0, 1), parts=1, later_half=True)

    # Without a predecessor there is half the work, and no motion across the border.
    if context == "segment":
        return MotionRuns(current.flatten(0, 1), parts=1, later_half=False)

    # The network sees the whole clip; its maps are shared out among the segments afterward.
    n = current.shape[1]
    clips = current.flatten(1, 2)  # (B, n F, h, w, 3)
    return MotionRuns(clips, parts=n, later_half=False)


def semantic_frames(frames: Tensor, spec: ClipSpec) -> Tensor:
    """Choose the semantic frames: `(B, n, F, H, W, 3)` -> `(B, n, f, H, W, 3)`."""
    # Evenly spaced frames are a strided slice, which exports as one operation.
    indices = spec.semantic_indices
    steps = {b - a for a, b in pairwise(indices)} or {spec.motion_frames}
    if len(steps) == 1:
        return frames[:, :, indices[0] : indices[-1] + 1 : steps.pop()]
    return torch.stack([frames[:, :, i] for i in indices], 2)


def mean_of_cells(tokens: Tensor, side: int) -> Tensor:
    """Average the four patches of each motion cell: `(N, P, channels)` -> `(N, P / 4, channels)`.

    Args:
        tokens: `(N, side * side, channels)`.
        side: patches per side of a frame.
    """
    n, _, channels = tokens.shape
    u = CELL // PATCH
    cells = tokens.reshape(n, side // u, u, side // u, u, channels)  # (N, rows, u, columns, u, ch)
    return cells.mean((2, 4)).reshape(n, -1, channels)  # (N, P / 4, channels)
