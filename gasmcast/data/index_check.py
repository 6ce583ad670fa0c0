"""Check what the annotations of a data set say, whatever their format.

Every error is one sentence with file and row. Nothing is decoded.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_index import Clip, ClipIndex
from gasmcast.errors import UsageError

__all__ = ["OVERLAP_S", "check_index", "label_key"]

OVERLAP_S = 0.05
"""Seconds by which spans of two classes may overlap: people do not annotate to the frame."""


def check_index(index: ClipIndex) -> ClipIndex:
    """Return the index with its empty classes left out, after checking all of its clips.

    Raises:
        UsageError: no clips; an empty label; labels that differ only in case or spaces; a span
            that ends before it starts; a clip that is listed twice; spans of two classes that
            overlap; some clips with a split and some without.
    """
    if not index.clips:
        raise UsageError(
            f"{index.path} lists no clips (format {index.format}).",
            "Check the file, or name its format with --format.",
        )

    _check_labels(index)
    _check_times(index)
    _check_splits(index)

    # Spans in frames are compared when they have been turned into seconds.
    if index.frame_ranges:
        return index
    _check_repeats(index)
    _check_overlaps(index)
    return replace(index, names=index.classes)


def label_key(label: str) -> str:
    """Return a label without the differences that people do not mean: case and spaces."""
    return " ".join(label.casefold().split())


def _check_labels(index: ClipIndex) -> None:
    # Only the distinct labels are compared, with the first clip of each.
    first: dict[str, Clip] = {}
    for clip in index.clips:
        if clip.label is not None and clip.label not in first:
            first[clip.label] = clip

    spelling: dict[str, str] = {}
    for label, clip in first.items():
        if not label.strip():
            raise UsageError(f"{index.place(clip)}: the label is empty.", "Give each clip a class.")
        other = spelling.setdefault(label_key(label), label)
        if other != label:
            raise UsageError(
                f"{index.place(clip)}: the label {label!r} differs from {other!r}"
                f" ({index.place(first[other])}) only in case or spaces.",
                "Write both alike, or name the classes more differently.",
            )

    unlabeled = [clip for clip in index.clips if clip.label is None and clip.split != "test"]
    if unlabeled:
        raise UsageError(
            f"{index.place(unlabeled[0])}: {unlabeled[0].video} has no label.",
            "Only clips of the split test may lack one.",
        )


def _check_times(index: ClipIndex) -> None:
    for clip in index.clips:
        start_s, end_s = clip.start_s or 0.0, clip.end_s

        # Comparisons with NaN are false, so these refuse it as well.
        if not 0 <= start_s < np.inf:
            raise UsageError(
                f"{index.place(clip)}: the annotated span of {clip.video} starts at {start_s:g} s,"
                " which is no time in the file.",
                "Times count in seconds from the first frame.",
            )
        if end_s is not None and not end_s > start_s:
            raise UsageError(
                f"{index.place(clip)}: the annotated span of {clip.video} ends at {end_s:g} s, but"
                f" starts at {start_s:g} s.",
                "Swap or correct the two times.",
            )


def _check_splits(index: ClipIndex) -> None:
    without = next((clip for clip in index.clips if clip.split is None), None)
    has_some = any(clip.split is not None for clip in index.clips)
    if without is not None and has_some:
        raise UsageError(
            f"{index.place(without)}: this clip has no split, but others have one.",
            "Give every clip a split, or none.",
        )


def _check_repeats(index: ClipIndex) -> None:
    # The common case first: without repeats there is nothing to name.
    if len({(clip[0], clip[2], clip[3]) for clip in index.clips}) == len(index.clips):
        return
    seen: dict[tuple[str, float | None, float | None], Clip] = {}
    for clip in index.clips:
        key = (clip.video, clip.start_s, clip.end_s)
        other = seen.setdefault(key, clip)
        if other is clip:
            continue

        times = "" if not clip.is_segment else f" from {_time(clip.start_s)} to {_time(clip.end_s)}"
        if other.label != clip.label:
            raise UsageError(
                f"{index.place(clip)}: {clip.video}{times} is {clip.label!r} here and"
                f" {other.label!r} in {index.unit} {other.row}; a clip with several classes is not"
                " supported.",
                "Keep one of them.",
            )
        raise UsageError(
            f"{index.place(clip)}: {clip.video}{times} is listed twice (before in {index.unit}"
            f" {other.row}).",
            "Remove one of them.",
        )


def _time(seconds: float | None) -> str:
    return "the end" if seconds is None else f"{seconds:g} s"


def _check_overlaps(index: ClipIndex) -> None:
    if not any(clip.is_segment for clip in index.clips):
        return
    clips = index.clips
    count = len(clips)
    numbers: dict[str, int] = {}
    video = np.fromiter((numbers.setdefault(c.video, len(numbers)) for c in clips), np.int64, count)
    starts = np.fromiter((c.start_s or 0.0 for c in clips), np.float64, count)
    ends = np.fromiter((np.inf if c.end_s is None else c.end_s for c in clips), np.float64, count)

    # In order of time, a span that begins before all earlier ones have ended overlaps one.
    order = np.lexsort((starts, video))
    for position in order[_suspects(video[order], starts[order], ends[order])]:
        clip = clips[int(position)]
        # Rare: the spans of this video are compared one by one.
        earlier = np.flatnonzero((video == video[position]) & (starts <= starts[position]))
        for other in (clips[int(number)] for number in earlier):
            other_end_s = np.inf if other.end_s is None else other.end_s
            overlap_s = min(other_end_s, ends[position]) - starts[position]
            if overlap_s > OVERLAP_S and other.label != clip.label:
                raise UsageError(
                    f"{index.place(clip)}: {clip.label!r} overlaps {other.label!r}"
                    f" ({index.unit} {other.row}) in {clip.video} by {overlap_s:.2f} s; several"
                    " classes at a time are not supported.",
                    "Change the times so that the spans do not overlap, or make it one class.",
                )


def _suspects(
    video: NDArray[np.int64],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return positions of spans that begin before an earlier one of their video has ended.

    Args:
        video: `(N,)` number of the video, ascending.
        starts: `(N,)` seconds, ascending within a video.
        ends: `(N,)` seconds.
    """
    # A running maximum of the ends, restarted for each video by an offset larger than any time.
    finite = np.where(np.isfinite(ends), ends, 0.0)
    step = max(float(finite.max(initial=0.0)), float(starts.max(initial=0.0))) + 1.0
    offset = video * step
    latest = np.maximum.accumulate(np.minimum(ends, step - 0.5) + offset)
    is_suspect = starts[1:] + offset[1:] < latest[:-1] - OVERLAP_S
    return np.flatnonzero(is_suspect) + 1
