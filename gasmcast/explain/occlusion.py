"""Check attention by occlusion: hide what it points at, and see whether the class goes with it.

Deletion hides patches one after another and insertion uncovers them, in a given order; the area
under the curve of the predicted class's probability is one number for each (Petsiuk et al. 2018,
RISE: Randomized Input Sampling for Explanation of Black-box Models).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gasmcast.explain.subject import Clip, Explained, Subject
from gasmcast.models.shape import HeadShape
from gasmcast.runtime.attention_grids import read_out_grids

__all__ = ["Curves", "Occlusion", "occlude", "patch_scores", "segment_drops"]

STEPS = 10
"""Parts in which the patches are hidden; a curve has one more point."""
BATCH_BYTES = 40_000_000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """Probability of the predicted class while patches are hidden or uncovered."""

    deletion: Floats
    """`(STEPS + 1,)`, from the whole clip to none of it."""
    insertion: Floats
    """`(STEPS + 1,)`, from nothing to the whole clip."""

    @property
    def deletion_auc(self) -> float:
        """Area under the deletion curve, 0..1; a faithful order makes it small."""
        return _area(self.deletion)

    @property
    def insertion_auc(self) -> float:
        """Area under the insertion curve, 0..1; a faithful order makes it large."""
        return _area(self.insertion)


@dataclass(frozen=True)
class Occlusion:
    """Curves of one clip: most attended patches first, least attended first, random orders."""

    most: Curves
    least: Curves
    random: tuple[Curves, ...]

    @property
    def deletion_gain(self) -> Floats:
        """Deletion AUC of each random order minus that of attention; faithful: above 0."""
        return np.array([c.deletion_auc for c in self.random]) - self.most.deletion_auc

    @property
    def insertion_gain(self) -> Floats:
        """Insertion AUC of attention minus that of each random order; faithful: above 0."""
        return self.most.insertion_auc - np.array([c.insertion_auc for c in self.random])


def patch_scores(subject: Subject, explained: Explained) -> Floats:
    """Return the read-out attention of each patch of each segment, `(S, rows, cols)`, sum 1.

    It is the mean over the read-outs, in a guarded model weighed by the stream weights. A motion
    cell shares its attention among its patches; the frames of a segment are added.
    """
    shape = HeadShape.of(subject.config, subject.spec)
    grid = subject.spec.pixels // _patch_pixels(subject)
    total = np.zeros((shape.segments, grid, grid))
    for name, maps in read_out_grids(explained.maps).items():
        # Frames of one segment become one map; motion has one map for a segment already.
        by_segment = maps.reshape(shape.segments, -1, *maps.shape[-2:]).sum(1)
        factor = grid // by_segment.shape[-1]
        fine = by_segment.repeat(factor, 1).repeat(factor, 2) / factor**2
        total += _read_out_weight(subject, name) * fine
    return np.asarray(total / total.sum())


def occlude(
    subject: Subject,
    clip: Clip,
    scores: Floats,
    *,
    orders: int = 10,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> Occlusion:
    """Return the deletion and insertion curves of a clip.

    Args:
        subject: model.
        clip: `(1 + S, F, H, W, 3)` uint8.
        scores: `(S, rows, cols)`, how much each patch of each segment matters.
        orders: number of random orders.
        seed: seed of the random orders.
        on_step: called after each pair of curves.
    """
    predicted = int(subject.logits(clip[None])[0].argmax())
    rng = np.random.default_rng(seed)
    ranked = np.argsort(-scores.ravel(), kind="stable")

    # Random orders of single patches; the same for every clip with this seed.
    ranks = [ranked, ranked[::-1], *(rng.permutation(scores.size) for _ in range(orders))]
    curves = []
    for rank in ranks:
        curves.append(_curves(subject, clip, rank, scores.shape, predicted))
        on_step()
    return Occlusion(curves[0], curves[1], tuple(curves[2:]))


def segment_drops(subject: Subject, clip: Clip) -> Floats:
    """Return by how much the predicted class's probability falls when one segment is hidden.

    Returns:
        `(S,)`; negative where the class becomes more probable.
    """
    segments = len(clip) - 1
    hidden = ~np.eye(segments, dtype=bool)[:, :, None, None]  # (S, S, 1, 1)
    whole = subject.probabilities(subject.logits(clip[None]))[0]
    predicted = int(whole.argmax())
    clips = np.stack([_hide(clip, visible) for visible in hidden])
    rows = [subject.logits(part) for part in _batches(clips)]
    return np.asarray(whole[predicted] - subject.probabilities(np.concatenate(rows))[:, predicted])


def _curves(
    subject: Subject, clip: Clip, rank: NDArray[np.int64], shape: tuple[int, ...], predicted: int
) -> Curves:
    """Hide and uncover patches in the order of `rank`."""
    clips = []
    for step in range(STEPS + 1):
        count = round(rank.size * step / STEPS)
        first = np.zeros(rank.size, bool)
        first[rank[:count]] = True
        clips += [_hide(clip, ~first.reshape(shape)), _hide(clip, first.reshape(shape))]

    rows = [subject.logits(part) for part in _batches(np.stack(clips))]
    shares = subject.probabilities(np.concatenate(rows))[:, predicted]
    return Curves(shares[0::2], shares[1::2])


def _hide(clip: Clip, visible: NDArray[np.bool_]) -> Clip:
    """Return a clip whose invisible patches have the mean color of its window.

    The lead-in is hidden with the first segment, which it precedes.

    Args:
        clip: `(1 + S, F, H, W, 3)` uint8.
        visible: `(S, rows, cols)`; rows and columns may be 1.
    """
    color = clip[1:].reshape(-1, 3).mean(0).round().astype(np.uint8)
    whole = np.concatenate([visible[:1], visible])  # (1 + S, rows, cols)
    factor = clip.shape[2] // whole.shape[1]
    mask = whole.repeat(factor, 1).repeat(factor, 2)[:, None, :, :, None]  # (1 + S, 1, H, W, 1)
    return np.where(mask, clip, color)


def _batches(clips: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    size = max(1, BATCH_BYTES // clips[0].nbytes)
    return [clips[i : i + size] for i in range(0, len(clips), size)]


def _patch_pixels(subject: Subject) -> int:
    shape = HeadShape.of(subject.config, subject.spec)
    side = shape.cells if subject.config.streams == "motion" else shape.grid
    return subject.spec.pixels // side


def _read_out_weight(subject: Subject, name: str) -> float:
    """Return the weight of a read-out in the model's answer."""
    config = subject.config
    if config.read_out != "guarded" or config.streams != "both":
        return 1.0
    if name.startswith("fused"):
        return config.stream_weights[2] / 2
    return config.stream_weights[("semantic", "motion").index(name)]


def _area(curve: Floats) -> float:
    return float((curve[:-1] + curve[1:]).mean() / 2)
