"""Split a data set honestly: by source, stratified by class, seeded; and find leaks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gasmcast.data.clip_index import ClipIndex
from gasmcast.errors import UsageError

__all__ = [
    "VALIDATION_SHARE",
    "Footage",
    "Leak",
    "check_leaks",
    "describe_leaks",
    "find_leaks",
    "split_groups",
    "with_split",
]

VALIDATION_SHARE = 0.2
"""Share of the clips that go to the validation split."""
SHOWN = 3


class Footage(NamedTuple):
    """Facts of a clip by which two clips of the same footage are found."""

    origin: str
    """Source: the stated one, or the video."""
    video: str | None
    """Path of the video file."""
    name: str | None
    """Name of the clip, where it has one."""


class Leak(NamedTuple):
    """Source whose clips are in the training split and in another one."""

    source: str
    training_clips: int
    held_out_clips: int
    split: str = "validation"
    """The other split: validation or test."""


def split_groups(
    labels: Sequence[str], groups: Sequence[str], share: float = VALIDATION_SHARE, seed: int = 0
) -> list[bool]:
    """Return which clips are held out, so that no group is on both sides.

    Groups are taken in random order, those of many clips first; each goes to the side where it
    brings the counts of all classes closer to the wanted share. No class loses its last group.

    Args:
        labels: class of each clip.
        groups: source of each clip.
        share: wanted share of the clips that are held out, of each class.
        seed: seed of the order.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        counts[group][label] += 1
    total = Counter(labels)
    groups_left = Counter(label for count in counts.values() for label in count)

    # The large ones first: the small ones then even out what is left.
    names = sorted(counts)
    order = np.random.default_rng(seed).permutation(len(names))
    queue = sorted((names[i] for i in order), key=lambda name: -counts[name].total())

    held_out: set[str] = set()
    taken: Counter[str] = Counter()
    for name in queue:
        count = counts[name]
        gain = 0.0
        for label, number in count.items():
            wanted = share * total[label]
            before, after = taken[label] - wanted, taken[label] + number - wanted
            gain += (before * before - after * after) / total[label]
        if gain > 0 and all(groups_left[label] > 1 for label in count):
            held_out.add(name)
            taken.update(count)
            groups_left.subtract(count.keys())
    return [group in held_out for group in groups]


def with_split(index: ClipIndex, share: float = VALIDATION_SHARE, seed: int = 0) -> ClipIndex:
    """Return the index with a split into train and validation, made by source.

    Args:
        index: its own splits, if any, are replaced.
        share: share of the clips for validation.
        seed: seed of the split.
    """
    labels = [clip.label or "" for clip in index.clips]
    held_out = split_groups(labels, [clip.origin for clip in index.clips], share, seed)
    clips = [
        clip._replace(split="validation" if is_out else "train")
        for clip, is_out in zip(index.clips, held_out, strict=True)
    ]
    return replace(index, clips=clips, is_split=True)


def find_leaks(
    training: Mapping[Footage, int], held_out: Mapping[Footage, int], split: str = "validation"
) -> list[Leak]:
    """Return the sources, videos and names of clips that are on both sides.

    Args:
        training: number of training clips by their footage.
        held_out: number of clips of the other split by their footage.
        split: name of the other split.
    """
    sources: Counter[str] = Counter()
    videos: Counter[str | None] = Counter()
    names: Counter[str | None] = Counter()
    for (origin, video, name), clips in training.items():
        sources[origin] += clips
        videos[video] += clips
        names[name] += clips

    # One video or name may stand under two stated sources, or under one and none.
    shared: Counter[str] = Counter()
    training_clips: dict[str, int] = {}
    for (origin, video, name), clips in held_out.items():
        for key, counts in ((origin, sources), (video, videos), (name, names)):
            if key is not None and key in counts:
                shared[key] += clips
                training_clips[key] = counts[key]
                break
    return [Leak(key, training_clips[key], count, split) for key, count in shared.items()]


def check_leaks(leaks: Sequence[Leak], what: str, *, allowed: bool) -> str:
    """Return a warning about leaks that are allowed; empty without leaks.

    Args:
        leaks: from `find_leaks`.
        what: the data set, as the beginning of the sentence.
        allowed: whether `--allow-leak` was given.

    Raises:
        UsageError: there are leaks, and they are not allowed.
    """
    if not leaks:
        return ""

    # The error and the warning name the same sources and count the same clips.
    sources, clips = describe_leaks(leaks)
    sentence = f"{what}: {sources}"
    if not allowed:
        raise UsageError(
            f"{sentence}; the figures of {clips} would flatter.",
            "Split by source with `gasmcast data split`, or use --allow-leak, which every report"
            " then says.",
        )
    return (
        f"WARNING: LEAK ALLOWED: {sentence}. The figures of {clips} flatter: the model has seen"
        " their recordings."
    )


def describe_leaks(leaks: Sequence[Leak]) -> tuple[str, str]:
    """Return which sources are in two splits, and how many held-out clips are affected."""
    sources, clips = [], []
    for split in dict.fromkeys(leak.split for leak in leaks):
        own = [leak for leak in leaks if leak.split == split]
        names = ", ".join(leak.source for leak in own[:SHOWN])
        names += ", ..." if len(own) > SHOWN else ""
        noun = "source is" if len(own) == 1 else "sources are"
        sources.append(f"{len(own)} {noun} in both train and {split} ({names})")
        clips.append(f"{sum(leak.held_out_clips for leak in own)} {split} clips")
    return ", and ".join(sources), " and ".join(clips)
