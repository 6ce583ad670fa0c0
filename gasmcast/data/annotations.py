"""Read labels and splits of a data set in any format.

A set in the format of Something-Something-V2 is read split by split; every other format becomes an
index of clips first (`gasmcast.data.reading`), from which the splits are taken.
"""

from __future__ import annotations

from pathlib import Path

from gasmcast.data.clip_index import Clip, ClipIndex, Split
from gasmcast.data.failures import check_failures
from gasmcast.data.formats import ssv2
from gasmcast.data.formats.detect import SSV2
from gasmcast.data.reading import open_index, read_format, read_options
from gasmcast.data.sample import Sample
from gasmcast.data.segment_ends import check_segment_ends
from gasmcast.errors import UsageError
from gasmcast.labels import Labels

__all__ = [
    "Sample",
    "Split",
    "has_split",
    "read_labels",
    "read_split",
    "states_split",
    "to_samples",
    "usable",
]


def read_labels(root: Path) -> Labels:
    """Read the class names of a data set.

    Raises:
        UsageError: there is no data set, it has no labels, or they are not in the format.
    """
    if read_format(root) == SSV2:
        return ssv2.read_labels(root)
    return Labels(open_index(root).classes)


def has_split(root: Path, split: Split) -> bool:
    """Return whether a data set has clips of this split.

    Raises:
        UsageError: there is no data set, or its annotations are wrong.
    """
    if read_format(root) == SSV2:
        return ssv2.has_split(root, split)
    return split in open_index(root).splits()


def states_split(root: Path) -> bool:
    """Return whether the annotations name splits; otherwise gasmcast makes them by source.

    Raises:
        UsageError: there is no data set, or its annotations are wrong.
    """
    return read_format(root) == SSV2 or not open_index(root).is_split


def read_split(root: Path, split: Split) -> list[Sample]:
    """Read the clips of one split, in the order of the annotations.

    `path` is None if a video is missing.

    Args:
        root: folder or annotation file of a data set, in any format.
        split: train, validation or test. A set without splits is split by source.

    Raises:
        UsageError: there is no data set or no such split, the annotations are wrong, or not one of
            the videos exists.
    """
    if read_format(root) == SSV2:
        return ssv2.read_split(root, split)

    index = open_index(root)
    clips = index.of_split(split)
    if not clips:
        raise UsageError(
            f"{root} has no clips of the split {split}.",
            "Name the split of each clip, or split the set with `gasmcast data split`.",
        )
    if not any(clip.exists for clip in clips):
        raise UsageError(
            f"None of the {len(clips)} videos of {root} exists; the first is {clips[0].video}"
            f" ({index.place(clips[0])}).",
            "Paths count from the folder of the annotation file, or from videos/ beside it.",
        )
    return to_samples(index, clips)


def to_samples(index: ClipIndex, clips: list[Clip]) -> list[Sample]:
    """Return clips of an index as samples; names of clips are relative to the set."""
    number_of = {name: number for number, name in enumerate(index.classes)}
    folder = index.path if index.path.is_dir() else index.path.parent
    prefix = f"{folder}/"
    context_s = read_options().context_s
    samples = []
    for clip in clips:
        name = clip.name or clip.video.removeprefix(prefix)

        # The times are written as a media fragment (W3C Media Fragments URI 1.0).
        if clip.is_segment and clip.name is None:
            end = "" if clip.end_s is None else f",{clip.end_s:.3f}"
            name = f"{name}#t={clip.start_s or 0.0:.3f}{end}"

        sample = Sample(
            id=name,
            label=None if clip.label is None else number_of[clip.label],
            video=clip.video if clip.exists else None,
            template=clip.label or "",
            source=clip.origin,
            start_s=clip.start_s or 0.0,
            end_s=clip.end_s,
            context_s=context_s if clip.is_segment else 0.0,
            place=index.place(clip),
        )
        samples.append(sample)
    return samples


def usable(samples: list[Sample], data: Path) -> list[Sample]:
    """Return the samples that have a video.

    Args:
        samples: the clips of a split.
        data: folder of the set, named in the error.

    Raises:
        UsageError: more than 1 % have none, or are spans beyond the end of their video.
    """
    missing = [sample for sample in samples if sample.path is None]
    check_failures(
        [sample.id for sample in missing],
        len(samples),
        lambda _: UsageError(
            f"{data}: {len(missing)} of {len(samples)} videos are not there, for one"
            f" {missing[0].id}{_at(missing[0])}.",
            "Complete the download.",
        ),
    )
    there = [sample for sample in samples if sample.path is not None]
    check_segment_ends(there)
    return there


def _at(sample: Sample) -> str:
    return f" ({sample.place})" if sample.place else ""
