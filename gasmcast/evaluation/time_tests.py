"""Test whether a model uses the order of frames: clips played backwards or shuffled."""

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
    "reverse_clips",
    "score_reversed",
    "score_shuffled",
    "shuffle_clips",
]

Clips = NDArray[np.uint8]


def _reorder(clips: Clips, order: Callable[[int, int], NDArray[np.int64]]) -> Clips:
    """Put the frames of each window in another order.

    The new first frame, repeated, becomes the lead-in, as at the start of a video.

    Args:
        clips: `(B, 1+S, F, H, W, 3)`.
        order: returns the new order of the frames, by position in the batch and frame count.
    """
    b, s1, f = clips.shape[:3]
    window = clips[:, 1:].reshape(b, (s1 - 1) * f, *clips.shape[3:])  # (B, S * F, H, W, 3)

    # Each clip may have an order of its own.
    out = np.empty_like(clips)
    for i in range(b):
        moved = window[i, order(i, window.shape[1])]
        out[i, 0] = moved[:1]
        out[i, 1:] = moved.reshape(s1 - 1, f, *moved.shape[1:])  # (S, F, H, W, 3)
    return out


def reverse_clips(clips: Clips) -> Clips:
    """Play each window backwards; `(B, 1+S, F, H, W, 3)` in and out."""
    return _reorder(clips, lambda _, frames: np.arange(frames)[::-1])


def shuffle_clips(clips: Clips, first: int = 0) -> Clips:
    """Shuffle the frames of each window; `(B, 1+S, F, H, W, 3)` in and out.

    The order depends on the position of the clip in the set alone, not on the batch.

    Args:
        clips: consecutive clips of a set.
        first: position of the first of them.
    """
    return _reorder(
        clips, lambda i, frames: np.random.default_rng((0, first + i)).permutation(frames)
    )


@dataclass(frozen=True)
class ReversalScores:
    """Result of the time-reversal test.

    Figures are shares 0..1; None where no two classes of the set are reversals of each other.
    """

    clips: int
    changed: float
    """Share of clips that are given another class when played backwards."""
    reversed_top1: float | None
    """Share of the clips of paired classes that are given the reversed class."""
    reversed_interval: tuple[float, float] | None
    classes: dict[str, float]
    """`reversed_top1` of each paired class."""
    classes_followed: float | None
    """Share of the paired classes of which most clips are given the reversed class."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def score_reversed(
    forward: NDArray[np.floating],
    backward: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Sequence[str],
) -> ReversalScores:
    """Compare the logits of clips with those of the same clips played backwards.

    Args:
        forward: `(N, classes)` logits of the clips.
        backward: `(N, classes)` logits of the clips played backwards.
        labels: `(N,)`.
        names: class names, from which the reversed class of each class follows.
    """
    partner = reversals(names)
    predicted = backward.argmax(-1)
    changed = float((forward.argmax(-1) != predicted).mean())

    # The set may have no such classes at all, and then only the changes can be counted.
    paired = np.isin(labels, list(partner))
    if not paired.any():
        return ReversalScores(
            clips=len(labels),
            changed=changed,
            reversed_top1=None,
            reversed_interval=None,
            classes={},
            classes_followed=None,
        )

    # The test is passed by the reversed class, not merely by another one.
    expected = np.array([partner[int(label)] for label in labels[paired]])
    correct = predicted[paired] == expected
    classes = {}
    for i in sorted(partner):
        if (labels == i).any():
            classes[names[i]] = float(correct[labels[paired] == i].mean())

    return ReversalScores(
        clips=len(labels),
        changed=changed,
        reversed_top1=float(correct.mean()),
        reversed_interval=bootstrap_interval(correct),
        classes=classes,
        classes_followed=float(np.mean([share > 0.5 for share in classes.values()])),
    )


@dataclass(frozen=True)
class ShuffleScores:
    """Result of the frame-shuffle test, in shares 0..1."""

    clips: int
    top1: float
    shuffled_top1: float
    shuffled_interval: tuple[float, float]
    blind_ceiling: float | None
    """Highest top-1 of a model blind to order, which knows every class except which of a reversed
    pair it is; None where the set has no such pairs."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def score_shuffled(
    forward: NDArray[np.floating],
    shuffled: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Sequence[str],
) -> ShuffleScores:
    """Compare the logits of clips with those of the same clips with shuffled frames.

    The ceiling assumes that a model blind to order always names the larger class of a reversed
    pair.

    Args:
        forward: `(N, classes)` logits of the clips.
        shuffled: `(N, classes)` logits of the clips with shuffled frames.
        labels: `(N,)`.
        names: class names, from which the reversed class of each class follows.
    """
    correct = shuffled.argmax(-1) == labels
    counts = np.bincount(labels, minlength=len(names))
    partner = reversals(names)

    # Each class of a pair contributes half of the larger one's clips, so the pair counts it once.
    reachable = 0.0
    for i in range(len(names)):
        reachable += max(counts[i], counts[partner[i]]) / 2 if i in partner else counts[i]

    return ShuffleScores(
        clips=len(labels),
        top1=float((forward.argmax(-1) == labels).mean()),
        shuffled_top1=float(correct.mean()),
        shuffled_interval=bootstrap_interval(correct),
        blind_ceiling=float(reachable / max(len(labels), 1)) if partner else None,
    )
