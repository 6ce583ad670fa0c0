"""Windows in which no action happens: videos of background, and unlabeled time of labeled videos.

They are no class of the user's. An export chooses its no-action threshold on them, and a training
may learn that none of the classes is likely in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from gasmcast.data.annotations import Split, has_split, read_split, to_samples
from gasmcast.data.reading import open_index
from gasmcast.data.sample import Sample
from gasmcast.data.timeline import AnnotatedVideo, TimedLabel
from gasmcast.errors import UsageError
from gasmcast.video.reader import duration_s
from gasmcast.video.suffixes import VIDEO_SUFFIXES

__all__ = ["background_windows", "find_background"]

MARGIN_S = 1.0
"""Unlabeled time this near to an action is not used: annotations are rounded."""


def find_background(places: Sequence[Path]) -> list[Path]:
    """Return the videos of files and folders, in order and without repetitions.

    Raises:
        UsageError: a place does not exist, or a folder holds no video.
    """
    videos: dict[Path, None] = {}
    for place in places:
        if not place.exists():
            raise UsageError(
                f"--background: {place} does not exist.", "Give a video or a folder of videos."
            )
        if place.is_file():
            videos[place] = None
            continue
        inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
        if not inside:
            raise UsageError(
                f"--background: {place} holds no videos.", "Give a folder of video files."
            )
        videos |= dict.fromkeys(inside)
    return list(videos)


def background_windows(
    videos: Sequence[Path],
    window_s: float,
    count: int,
    *,
    data: Path | None = None,
    split: Split = "validation",
) -> list[Sample]:
    """Return back-to-back windows without an action, spread evenly if there are more than `count`.

    Args:
        videos: videos in which no action happens.
        window_s: length of a window in seconds; what is shorter is left out.
        count: largest number of windows.
        data: data set whose videos give their unlabeled time, where its clips are annotated
            spans of them; None: none.
        split: the split of `data`; a video that has clips of the other one, too, gives nothing,
            and annotated spans of the test split are no background either.

    Raises:
        UsageError: bad data.
        SourceError: a video cannot be read.
    """
    stretches = [(video, 0.0, duration_s(video)) for video in videos]
    if data is not None:
        stretches += _unlabeled_time(data, split)

    windows = []
    for video, start_s, end_s in stretches:
        for number in range(int((end_s - start_s) / window_s)):
            begin_s = start_s + number * window_s
            name = f"{video}#t={begin_s:.3f},{begin_s + window_s:.3f}"
            windows.append(
                Sample(
                    id=name,
                    label=None,
                    video=str(video),
                    start_s=begin_s,
                    end_s=begin_s + window_s,
                )
            )
    if len(windows) <= count:
        return windows
    return [windows[number * len(windows) // count] for number in range(count)]


def _unlabeled_time(data: Path, split: Split) -> list[tuple[Path, float, float]]:
    """Return the stretches of videos of a split in which nothing is labeled."""
    # With `--allow-leak` a video may have actions in both splits.
    other: Split = "train" if split == "validation" else "validation"
    taken = {sample.path for sample in read_split(data, other)} if has_split(data, other) else set()

    actions: dict[Path, list[TimedLabel]] = defaultdict(list)
    for sample in read_split(data, split):
        if sample.path is not None and sample.is_segment and sample.path not in taken:
            actions[sample.path].append(_timed(sample, sample.path))

    # A test split may show another part of the same video; its clips may have no label. Only a
    # set with an index has annotated spans.
    index = open_index(data) if actions else None
    for sample in [] if index is None else to_samples(index, index.of_split("test")):
        if sample.path is not None and sample.path in actions:
            actions[sample.path].append(_timed(sample, sample.path))

    stretches = []
    for path, labels in actions.items():
        labels.sort(key=lambda action: action.start_s)
        video = AnnotatedVideo(path, duration_s(path), tuple(labels))
        stretches += [(path, start_s, end_s) for start_s, end_s in video.unlabeled(MARGIN_S)]
    return stretches


def _timed(sample: Sample, path: Path) -> TimedLabel:
    end_s = duration_s(path) if sample.end_s is None else sample.end_s
    return TimedLabel(sample.start_s, end_s, sample.template)
