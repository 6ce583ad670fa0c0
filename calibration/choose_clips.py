"""Choosing calibration clips: equally many a class, spread over motion amount and length, the same ones for the same seed.

Only the training split is offered, and none of it may be in the validation split: a clip that the gate judges on must not have set a range.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.annotations import Sample, read_split
from gasmcast.errors import SourceError, UsageError
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import duration_s

__all__ = [
    "Choice",
    "choose_clips",
    "quotas",
    "refuse_judges",
    "rough_motion",
    "spread",
    "training_clips",
]

POOL = 2
"""Clips that are looked at for each one that is taken, within its class."""


@dataclass(frozen=True)
class Choice:
    """One chosen clip; `motion` in gray levels a frame step, `length_s` in seconds."""

    sample: Sample
    motion: float
    length_s: float


def training_clips(data: Path) -> list[Sample]:
    """The training split of a set.

    Raises:
        UsageError: there is none, or it holds clips of the validation split.
    """
    samples = read_split(data, "train")
    judges: list[Sample] = []
    with suppress(
        UsageError
    ):  # a validation split that cannot be read judges nothing, and `gasmcast export` refuses it
        judges = read_split(data, "validation")
    hint = "Take them out of train.json or of validation.json."
    refuse_judges(
        f"The training split of {data}", (s.id for s in samples), (s.id for s in judges), hint
    )
    return samples


def refuse_judges(what: str, ids: Iterable[str], judges: Iterable[str], hint: str) -> None:
    """Raise a `UsageError` with `hint` where `what`, which calibrates, holds clips of the validation split."""
    both = set(ids) & set(judges)
    if both:
        raise UsageError(f"{what} holds {len(both)} of the clips that judge ({min(both)}).", hint)


def rough_motion(clip: NDArray[np.uint8]) -> float:
    """Mean absolute change between successive frames of the window, on every eighth pixel, in levels: cheap, and enough to spread a choice.

    The error analysis has a figure of its own (`insight.analysis.motion_amount`), of averaged pixels.
    """
    frames = clip[1:].reshape(-1, *clip.shape[2:])[:, ::8, ::8].astype(np.int16)
    return float(np.abs(np.diff(frames, axis=0)).mean()) if len(frames) > 1 else 0.0


def quotas(labels: Sequence[int], count: int, rng: np.random.Generator) -> dict[int, int]:
    """How many clips of each class to take: equal, as far as each class has them; the remainder falls on classes drawn by `rng`."""
    have = Counter(labels)
    classes = [int(c) for c in rng.permutation(sorted(have))]
    wanted = dict.fromkeys(classes, 0)
    left = min(count, len(labels))
    while left:
        open_classes = [c for c in classes if wanted[c] < have[c]][:left]
        for c in open_classes:
            wanted[c] += 1
        left -= len(open_classes)
    return wanted


def spread(features: NDArray[np.float64], count: int) -> list[int]:
    """`count` rows of `(n, d)` far from each other, each column by its rank: the first is the median, then always the farthest."""
    n = len(features)
    if count >= n:
        return list(range(n))
    ranks = features.argsort(0).argsort(0) / max(n - 1, 1)
    taken = [int(np.abs(ranks - 0.5).sum(1).argmin())]
    distance = np.abs(ranks - ranks[taken[0]]).sum(1)
    while len(taken) < count:
        taken.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(ranks - ranks[taken[-1]]).sum(1))
    return sorted(taken)


def choose_clips(
    samples: Sequence[Sample],
    spec: ClipSpec,
    count: int,
    seed: int = 0,
    each: Callable[[int, int], None] | None = None,
) -> tuple[list[Choice], list[str]]:
    """Clips for calibration out of a training split.

    Args:
        samples: the training split.
        spec: the sampling contract.
        count: how many; fewer where the set has fewer.
        seed: of the draws.
        each: called with videos looked at and all videos to look at.

    Returns:
        the choice in an order drawn once, so that the first few are of many classes, and the ids of clips that could not be read.

    Raises:
        UsageError: no clip has a label and a video, or none could be read.
    """
    rng = np.random.default_rng(seed)
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.label is not None and sample.path is not None:
            by_class[sample.label].append(sample)
    if not by_class:
        raise UsageError(
            "The training split has no clip with a label and a video.", "Check --data."
        )
    wanted = quotas([label for label, group in by_class.items() for _ in group], count, rng)
    pools = {}
    for label in sorted(by_class):
        group = by_class[label]
        pools[label] = [group[i] for i in rng.permutation(len(group))[: POOL * wanted[label]]]
    total, done = sum(map(len, pools.values())), 0
    chosen: list[Choice] = []
    unread: list[str] = []
    for label, pool in pools.items():
        seen: list[Choice] = []
        for sample in pool:
            try:
                seen.append(_look(sample, spec))
            except SourceError:
                unread.append(sample.id)
            done += 1
            if each is not None:
                each(done, total)
        features = np.array([[c.motion, c.length_s] for c in seen], np.float64).reshape(
            len(seen), 2
        )
        chosen += [seen[i] for i in spread(features, wanted[label])]
    if not chosen:
        raise UsageError(
            f"None of the {total} training clips looked at can be read.",
            "Run `gasmcast doctor`, and check the videos.",
        )
    return [chosen[i] for i in rng.permutation(len(chosen))], unread


def _look(sample: Sample, spec: ClipSpec) -> Choice:
    assert sample.path is not None  # `choose_clips` drops those without
    length = duration_s(sample.path)
    return Choice(
        sample, rough_motion(read_clip(sample.path, spec, spec.centered_start(length))), length
    )
