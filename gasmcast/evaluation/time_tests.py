"""What a model makes of time: clips played backwards, and clips whose frames are shuffled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.reversals import reversals
from gasmcast.evaluation.metrics import bootstrap_interval

__all__ = [
    "ReversalScores",
    "ShuffleScores",
    "judge_reversed",
    "judge_shuffled",
    "reverse_clips",
    "shuffle_clips",
]

Clips = NDArray[np.uint8]


def _in_order(clips: Clips, order: Callable[[int, int], NDArray[np.int64]]) -> Clips:
    """Frames of the window in another order; the lead-in is the new first frame repeated, as at the start of a video."""
    b, s1, f = clips.shape[:3]
    window = clips[:, 1:].reshape(b, (s1 - 1) * f, *clips.shape[3:])
    out = np.empty_like(clips)
    for i in range(b):
        moved = window[i, order(i, window.shape[1])]
        out[i, 0] = moved[:1]
        out[i, 1:] = moved.reshape(s1 - 1, f, *moved.shape[1:])
    return out


def reverse_clips(clips: Clips) -> Clips:
    """`(B, 1+S, F, H, W, 3)`: each window played backwards."""
    return _in_order(clips, lambda _, frames: np.arange(frames)[::-1])


def shuffle_clips(clips: Clips, first: int = 0) -> Clips:
    """`(B, 1+S, F, H, W, 3)`: the frames of each window in one random order, which follows from its number in the set.

    Args:
        clips: consecutive ones.
        first: the number of the first of them.
    """
    return _in_order(
        clips, lambda i, frames: np.random.default_rng((0, first + i)).permutation(frames)
    )


@dataclass(frozen=True)
class ReversalScores:
    """Shares 0..1. `None` where the set has no classes that are each other's reversals."""

    clips: int
    changed: float
    """Share of clips that are given another class when played backwards."""
    reversed_top1: float | None
    """Of the clips of paired classes, the share given the reversed class when played backwards."""
    reversed_interval: tuple[float, float] | None
    classes: dict[str, float]
    """The same by paired class."""
    classes_followed: float | None
    """Share of the paired classes most of whose clips are given the reversed class."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def judge_reversed(
    forward: NDArray[np.floating],
    backward: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Sequence[str],
) -> ReversalScores:
    """Compare `(N, classes)` logits of clips with those of the same clips played backwards."""
    partner = reversals(names)
    predicted = backward.argmax(-1)
    changed = float((forward.argmax(-1) != predicted).mean())
    paired = np.isin(labels, list(partner))
    if not paired.any():
        return ReversalScores(len(labels), changed, None, None, {}, None)
    wanted = np.array([partner[int(label)] for label in labels[paired]])
    right = predicted[paired] == wanted
    classes = {
        names[i]: float(right[labels[paired] == i].mean())
        for i in sorted(partner)
        if (labels == i).any()
    }
    followed = float(np.mean([share > 0.5 for share in classes.values()]))
    return ReversalScores(
        len(labels), changed, float(right.mean()), bootstrap_interval(right), classes, followed
    )


@dataclass(frozen=True)
class ShuffleScores:
    """Top-1 with the frames in order and shuffled, and what a model blind to order could reach at most."""

    clips: int
    top1: float
    shuffled_top1: float
    shuffled_interval: tuple[float, float]
    blind_ceiling: float | None
    """Every class known but for which of a reversed pair it is; None where the set has no such pairs."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def judge_shuffled(
    forward: NDArray[np.floating],
    shuffled: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Sequence[str],
) -> ShuffleScores:
    """Compare `(N, classes)` logits of clips with those of the same clips with shuffled frames.

    The ceiling gives each clip of a pair the share that its class has of the pair's clips, if the larger is always named.
    """
    right = shuffled.argmax(-1) == labels
    counts = np.bincount(labels, minlength=len(names))
    partner = reversals(names)
    # Of a pair the larger counts once, for both of its classes.
    reached = sum(
        counts[i] if i not in partner else max(counts[i], counts[partner[i]]) / 2
        for i in range(len(names))
    )
    ceiling = float(reached / max(len(labels), 1)) if partner else None
    return ShuffleScores(
        len(labels),
        float((forward.argmax(-1) == labels).mean()),
        float(right.mean()),
        bootstrap_interval(right),
        ceiling,
    )
