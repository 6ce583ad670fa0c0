"""Choose calibration clips: balanced over classes, spread over motion and length, seeded.

Only clips of the training split are chosen, and none may be in the validation split: a clip that
the accuracy gate is judged on must not have set a range.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.annotations import Sample, read_split
from gasmcast.data.clip_reader import clip_length_s, read_sample
from gasmcast.errors import SourceError, UsageError
from gasmcast.progress import Progress, silent
from gasmcast.spec import ClipSpec

__all__ = [
    "Choice",
    "choose_clips",
    "quotas",
    "refuse_validation_clips",
    "rough_motion",
    "spread",
    "training_clips",
]

POOL = 2
"""Clips that are decoded for each one that is chosen, within its class."""


@dataclass(frozen=True)
class Choice:
    """Clip that was decoded for calibration."""

    sample: Sample
    motion: float
    """Mean change between frames, in gray levels."""
    length_s: float
    """Length of the video in seconds."""


def training_clips(data: Path) -> list[Sample]:
    """Return the training split of a set.

    Raises:
        UsageError: the split is missing, or holds clips of the validation split.
    """
    samples = read_split(data, "train")
    validation: list[Sample] = []
    # Without a readable validation split nothing is judged; `gasmcast export` reports it.
    with suppress(UsageError):
        validation = read_split(data, "validation")

    refuse_validation_clips(
        f"The training split of {data}",
        ids=(sample.id for sample in samples),
        validation_ids=(sample.id for sample in validation),
        hint="Take them out of train.json or of validation.json.",
    )
    return samples


def refuse_validation_clips(
    what: str, ids: Iterable[str], validation_ids: Iterable[str], hint: str
) -> None:
    """Raise an error if clips for calibration are also in the validation split.

    Args:
        what: name of the set for calibration, as the beginning of the message.
        ids: its clips.
        validation_ids: clips of the validation split.
        hint: what to do about it.

    Raises:
        UsageError: the two share clips.
    """
    shared = set(ids) & set(validation_ids)
    if shared:
        raise UsageError(
            f"{what} holds {len(shared)} clips of the validation split ({min(shared)}), "
            "which must not calibrate.",
            hint,
        )


def rough_motion(clip: NDArray[np.uint8]) -> float:
    """Return the mean absolute change between successive frames of the window, in gray levels.

    Only every eighth pixel is read, which is fast and accurate enough to spread a choice. The
    error analysis uses averaged pixels instead (`gasmcast.evaluation.mistakes.motion_amount`).

    Args:
        clip: `(1+S, F, H, W, 3)` uint8.
    """
    window = clip[1:].reshape(-1, *clip.shape[2:])  # (S * F, H, W, 3)
    frames = window[:, ::8, ::8].astype(np.int16)
    return float(np.abs(np.diff(frames, axis=0)).mean()) if len(frames) > 1 else 0.0


def quotas(labels: Sequence[int], count: int, rng: np.random.Generator) -> dict[int, int]:
    """Return how many clips of each class to choose: equally many, as far as a class has them.

    Args:
        labels: class of each available clip.
        count: number of clips to choose.
        rng: draws the classes that get the remainder.
    """
    available = Counter(labels)
    classes = [int(c) for c in rng.permutation(sorted(available))]
    wanted = dict.fromkeys(classes, 0)

    # Each round gives one clip to every class that has more.
    left = min(count, len(labels))
    while left:
        open_classes = [c for c in classes if wanted[c] < available[c]][:left]
        for c in open_classes:
            wanted[c] += 1
        left -= len(open_classes)
    return wanted


def spread(features: NDArray[np.float64], count: int) -> list[int]:
    """Choose rows far from each other by farthest-point sampling on the ranks of each column.

    The first is the median row, and each further one is the farthest from those chosen so far.

    Args:
        features: `(n, d)`.
        count: number of rows to choose.

    Returns:
        increasing row numbers; all of them if there are not more than `count`.
    """
    n = len(features)
    if count >= n:
        return list(range(n))

    # Ranks make columns of different units comparable.
    ranks = features.argsort(0).argsort(0) / max(n - 1, 1)
    chosen = [int(np.abs(ranks - 0.5).sum(1).argmin())]
    distance = np.abs(ranks - ranks[chosen[0]]).sum(1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(ranks - ranks[chosen[-1]]).sum(1))
    return sorted(chosen)


def choose_clips(
    samples: Sequence[Sample],
    spec: ClipSpec,
    count: int,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[list[Choice], list[str]]:
    """Choose clips for calibration from a training split.

    Args:
        samples: the training split.
        spec: the sampling contract.
        count: number of clips; fewer are returned if the set has fewer.
        seed: seed of all draws.
        progress: reports videos decoded.

    Returns:
        the chosen clips in random order, so that the first few are of many classes, and the names
        of clips that could not be read.

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

    # A random pool of each class bounds the number of videos that must be decoded.
    labels = [label for label, group in by_class.items() for _ in group]
    wanted = quotas(labels, count, rng)
    pools: dict[int, list[Sample]] = {}
    for label in sorted(by_class):
        group = by_class[label]
        pools[label] = [group[i] for i in rng.permutation(len(group))[: POOL * wanted[label]]]

    total = sum(map(len, pools.values()))
    done = 0
    chosen: list[Choice] = []
    unread: list[str] = []
    for label, pool in pools.items():
        readable: list[Choice] = []
        for sample in pool:
            try:
                readable.append(_decode(sample, spec))
            except SourceError:
                unread.append(sample.id)
            done += 1
            progress("choosing calibration clips", done, total)

        # (clips, 2); the shape is given because an empty list has none.
        features = np.array([[c.motion, c.length_s] for c in readable], np.float64)
        rows = spread(features.reshape(len(readable), 2), wanted[label])
        chosen += [readable[i] for i in rows]

    if not chosen:
        raise UsageError(
            f"None of the {total} training clips that were tried can be read.",
            "Run `gasmcast doctor`, and check the videos.",
        )
    return [chosen[i] for i in rng.permutation(len(chosen))], unread


def _decode(sample: Sample, spec: ClipSpec) -> Choice:
    """Measure motion and length of a clip.

    Raises:
        SourceError: the video cannot be read.
    """
    length_s = clip_length_s(sample)
    clip = read_sample(sample, spec, spec.centered_start(length_s))
    return Choice(sample, rough_motion(clip), length_s)
