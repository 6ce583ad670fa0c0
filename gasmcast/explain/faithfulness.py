"""Decide whether attention is faithful: hiding what it points at must hurt more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.annotations import Sample, read_split
from gasmcast.errors import UsageError
from gasmcast.evaluation.metrics import bootstrap_interval
from gasmcast.explain.occlusion import Curves, Occlusion, occlude, patch_scores
from gasmcast.explain.subject import Subject
from gasmcast.progress import Progress, silent
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import duration_s

__all__ = ["Faithfulness", "Gain", "measure_faithfulness", "of_clip"]

FEWEST_CLIPS = 8
Interval = tuple[float, float]


@dataclass(frozen=True)
class Gain:
    """Advantage of the order of attention over random orders, as a difference of AUCs."""

    mean: float
    interval: Interval
    """95 % interval."""

    def __bool__(self) -> bool:
        return self.interval[0] > 0

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {"mean": self.mean, "interval": list(self.interval), "better": bool(self)}


@dataclass(frozen=True)
class Faithfulness:
    """Result of the occlusion check; truthy when deletion beats random orders beyond chance."""

    clips: int
    orders: int
    """Random orders for each clip."""
    deletion_auc: float
    insertion_auc: float
    random_deletion_auc: float
    random_insertion_auc: float
    deletion: Gain
    insertion: Gain
    most: Curves
    """Mean curves."""
    least: Curves
    random: tuple[Curves, ...]

    def __bool__(self) -> bool:
        return bool(self.deletion)

    def __str__(self) -> str:
        low, high = self.deletion.interval
        figures = (
            f"deletion AUC {self.deletion_auc:.3f} by attention, {self.random_deletion_auc:.3f} at "
            f"random, difference {self.deletion.mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        )
        if self:
            return f"Attention is faithful here: {figures}."
        if high < 0:
            return f"Attention is NOT faithful here, it is worse than a random order: {figures}."
        return f"Attention is NOT faithful here, it is no better than a random order: {figures}."

    def to_json(self) -> dict[str, Any]:
        """Return the figures and the mean curves as plain data."""
        return {
            "faithful": bool(self),
            "clips": self.clips,
            "random_orders": self.orders,
            "deletion_auc": self.deletion_auc,
            "insertion_auc": self.insertion_auc,
            "random_deletion_auc": self.random_deletion_auc,
            "random_insertion_auc": self.random_insertion_auc,
            "deletion_gain": self.deletion.to_json(),
            "insertion_gain": self.insertion.to_json(),
            "deletion_curve": self.most.deletion.tolist(),
            "insertion_curve": self.most.insertion.tolist(),
        }


def of_clip(occlusion: Occlusion) -> Faithfulness:
    """Return the result for one clip; its intervals are over the random orders."""
    gains = []
    for values in (occlusion.deletion_gain, occlusion.insertion_gain):
        low, high = np.quantile(values, [0.025, 0.975])
        gains.append(Gain(float(values.mean()), (float(low), float(high))))
    return _summarize([occlusion], gains[0], gains[1])


def measure_faithfulness(
    subject: Subject,
    data: Path,
    *,
    clips: int = 64,
    orders: int = 5,
    seed: int = 0,
    progress: Progress = silent,
) -> Faithfulness:
    """Run the occlusion check on validation clips, drawn at random.

    Each clip gives one difference to the mean of its random orders; the interval is a bootstrap
    over clips.

    Args:
        subject: model.
        data: data set in any format that `gasmcast.data` reads.
        clips: largest number of clips.
        orders: random orders for each clip.
        seed: seed of the choice of clips and of the orders.
        progress: called after each clip.

    Raises:
        UsageError: fewer than 8 clips.
        SourceError: a clip does not decode.
    """
    results = []
    samples = _choose(read_split(data, "validation"), clips, seed, data)
    for number, sample in enumerate(samples):
        progress("hiding patches", number, len(samples))
        assert sample.path is not None  # _choose took those with a file
        start_s = subject.spec.centered_start(duration_s(sample.path))
        clip = read_clip(sample.path, subject.spec, start_s)
        scores = patch_scores(subject, subject.explain(clip))
        results.append(occlude(subject, clip, scores, orders=orders, seed=seed + number))
    progress("hiding patches", len(samples), len(samples))

    deletion = np.array([result.deletion_gain.mean() for result in results])
    insertion = np.array([result.insertion_gain.mean() for result in results])
    return _summarize(results, _bootstrap(deletion), _bootstrap(insertion))


def _choose(samples: Sequence[Sample], count: int, seed: int, data: Path) -> list[Sample]:
    """Return clips that have a video, chosen at random, in the order of the set."""
    usable = [sample for sample in samples if sample.path is not None]
    if len(usable) < FEWEST_CLIPS:
        raise UsageError(
            f"{data} has {len(usable)} validation clips; an interval needs {FEWEST_CLIPS}.",
            "Give a set with more of them.",
        )
    chosen = np.random.default_rng(seed).permutation(len(usable))[:count]
    return [usable[i] for i in sorted(chosen)]


def _bootstrap(values: NDArray[np.float64]) -> Gain:
    return Gain(float(values.mean()), bootstrap_interval(values))


def _summarize(results: Sequence[Occlusion], deletion: Gain, insertion: Gain) -> Faithfulness:
    orders = len(results[0].random)
    most = _mean([result.most for result in results])
    random = tuple(_mean([result.random[i] for result in results]) for i in range(orders))
    return Faithfulness(
        clips=len(results),
        orders=orders,
        deletion_auc=most.deletion_auc,
        insertion_auc=most.insertion_auc,
        random_deletion_auc=float(np.mean([curves.deletion_auc for curves in random])),
        random_insertion_auc=float(np.mean([curves.insertion_auc for curves in random])),
        deletion=deletion,
        insertion=insertion,
        most=most,
        least=_mean([result.least for result in results]),
        random=random,
    )


def _mean(curves: Sequence[Curves]) -> Curves:
    return Curves(
        np.mean([c.deletion for c in curves], axis=0),
        np.mean([c.insertion for c in curves], axis=0),
    )
