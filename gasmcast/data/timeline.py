"""Long videos with their actions: which action is where in which video.

The clips of a data set, in any format, are grouped by their video. A clip that is a whole video is
an action over all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gasmcast.data.annotations import (
    Split,
    has_split,
    read_labels,
    read_split,
    states_split,
    to_samples,
    usable,
)
from gasmcast.data.clip_index import ClipIndex
from gasmcast.data.formats.detect import SSV2
from gasmcast.data.reading import open_index, read_format
from gasmcast.data.sample import Sample
from gasmcast.errors import UsageError
from gasmcast.video.reader import duration_s

__all__ = ["AnnotatedVideo", "TimedLabel", "read_timeline"]

# Annotations are rounded to tenths of a second, and durations to frames.
_TOLERANCE_S = 1.0


@dataclass(frozen=True)
class TimedLabel:
    """Action in a video, in seconds after its first frame."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class AnnotatedVideo:
    """Video with its actions in order of time."""

    path: Path
    duration_s: float
    actions: tuple[TimedLabel, ...]

    def unlabeled(self, margin_s: float = 0.0) -> tuple[tuple[float, float], ...]:
        """Return the stretches `(start_s, end_s)` without an action, `margin_s` away from any."""
        stretches = []
        free_s = 0.0
        for action in self.actions:
            if action.start_s - margin_s > free_s:
                stretches.append((free_s, action.start_s - margin_s))
            free_s = max(free_s, action.end_s + margin_s)
        if self.duration_s > free_s:
            stretches.append((free_s, self.duration_s))
        return tuple(stretches)


def read_timeline(data: Path, split: Split = "validation") -> tuple[AnnotatedVideo, ...]:
    """Read the annotated videos of one split, in the order of the annotations.

    A video has all of its actions, also those that another split names: an event of one of them is
    not a false one.

    Args:
        data: folder or annotation file of a data set, in any format. A set without splits is split
            by source, as for a training; where that leaves the split empty, all videos are taken.
        split: train or validation.

    Raises:
        UsageError: there is no such set or split, the annotations are wrong (among others, actions
            of two classes at the same time), an annotated span ends after its video, or more than
            1 % of the videos are missing.
        SourceError: a video cannot be read.
    """
    # One video cannot be divided: its made split is all training.
    if not has_split(data, split) and not states_split(data):
        split = "train"

    index = None if read_format(data) == SSV2 else open_index(data)
    own = read_split(data, split)
    idle = [] if index is None else _idle_videos(index, split)
    spans: dict[Path, list[Sample]] = {}
    for sample in usable([*own, *idle], data):
        if sample.path is not None:
            spans.setdefault(sample.path, []).append(sample)

    # A video may have actions in two splits: with `--allow-leak`, or in validation and test.
    if index is not None:
        others = [clip for clip in index.clips if clip.split != split and clip.exists]
        for sample in to_samples(index, others):
            if sample.path is not None and sample.path in spans:
                spans[sample.path].append(sample)

    names = read_labels(data).names
    return tuple(_video(path, samples, names) for path, samples in spans.items())


def _idle_videos(index: ClipIndex, split: Split) -> list[Sample]:
    """Return the videos of a split that are listed without any action: their events are false."""
    wanted = [clip for clip in index.idle if index.is_split or clip.split == split]
    return to_samples(index, wanted)


def _video(path: Path, samples: list[Sample], names: tuple[str, ...]) -> AnnotatedVideo:
    length_s = duration_s(path)
    actions = []
    for sample in samples:
        if sample.label is None:
            continue
        end_s = length_s if sample.end_s is None else sample.end_s
        if max(end_s, sample.start_s) > length_s + _TOLERANCE_S:
            raise UsageError(
                f"{sample.place}: the annotated span ends at {end_s:g} s, and {path.name} at"
                f" {length_s:.1f} s.",
                "Check that the times count in seconds and belong to this file.",
            )
        # What begins in the last moment of rounding is no stretch of the video.
        if sample.start_s < length_s:
            label = names[sample.label]
            actions.append(TimedLabel(sample.start_s, min(end_s, length_s), label))

    actions.sort(key=lambda action: action.start_s)
    return AnnotatedVideo(path, length_s, tuple(actions))
