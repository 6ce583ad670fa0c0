"""Annotated long videos: which action is where in which video.

This is the only place that knows the file formats of such annotations.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.data.annotations import Split, read_split
from gasmcast.data.video_files import find_videos
from gasmcast.errors import UsageError
from gasmcast.files import load_json
from gasmcast.video.reader import duration_s

__all__ = ["AnnotatedVideo", "TimedLabel", "read_timeline"]

_SUBSETS = {"train": ("training", "train"), "validation": ("validation", "val", "valid")}
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
    """Read the annotated videos of one split.

    Args:
        data: an ActivityNet JSON file, with its videos beside it or in `videos/`; or a folder in
            Something-Something-V2's format, in which each clip is one action.
        split: train or validation.

    Raises:
        UsageError: not such a file or folder, a time that cannot be, actions of two classes at the
            same time, or no video is there.
        SourceError: a video cannot be read.
    """
    if data.is_dir():
        return _whole_clips(data, split)
    if not data.is_file():
        raise UsageError(
            f"{data} does not exist.", "Give an ActivityNet JSON or a folder of clips."
        )
    return _activitynet(data, split)


def _whole_clips(data: Path, split: Split) -> tuple[AnnotatedVideo, ...]:
    videos = []
    for sample in read_split(data, split):
        if sample.path is None or sample.label is None:
            continue
        length_s = duration_s(sample.path)
        # Brackets are those of Something-Something-V2's placeholders.
        label = sample.template.replace("[", "").replace("]", "")
        videos.append(AnnotatedVideo(sample.path, length_s, (TimedLabel(0.0, length_s, label),)))
    return tuple(videos)


def _activitynet(file: Path, split: Split) -> tuple[AnnotatedVideo, ...]:
    """Read ActivityNet's format: `{"database": {id: {"subset", "annotations": [...]}}}`."""
    hint = "Give a file in ActivityNet's format."
    try:
        tree = load_json(file.read_bytes())
    except ValueError as error:
        raise UsageError(f"{file} is not JSON ({error}).", hint) from None
    database = tree.get("database") if isinstance(tree, dict) else None
    if not isinstance(database, dict) or not database:
        raise UsageError(f'{file} has no videos under "database".', hint)

    entries: dict[str, Mapping[str, Any]] = {}
    for name, entry in database.items():
        if not isinstance(entry, dict):
            raise UsageError(f"{file}: the video {name!r} is no mapping.", hint)
        # Files of one's own often have no subsets: then all videos are meant.
        if str(entry.get("subset", split)).lower() in (split, *_SUBSETS.get(split, ())):
            entries[name] = entry
    if not entries:
        raise UsageError(f"{file} has no video of the subset {split}.", "Check its `subset`.")

    # ActivityNet's own files are called v_<id>.
    found = find_videos(file.parent, {*entries, *(f"v_{name}" for name in entries)})
    missing = [name for name in entries if name not in found and f"v_{name}" not in found]
    if len(missing) > 0.01 * len(entries):
        raise UsageError(
            f"{file}: {len(missing)} of {len(entries)} videos are missing, for example "
            f"{missing[0]!r}.",
            "Put them beside the file or in videos/.",
        )

    videos = []
    for name, entry in entries.items():
        if name in missing:
            continue
        path = Path(found.get(name) or found[f"v_{name}"])
        videos.append(_video(path, name, entry, file))
    return tuple(videos)


def _video(path: Path, name: str, entry: Mapping[str, Any], file: Path) -> AnnotatedVideo:
    length_s = duration_s(path)
    where = f"{file}: {name}"
    actions = []
    for number, row in enumerate(entry.get("annotations") or (), start=1):
        try:
            start_s, end_s = (float(value) for value in row["segment"])
            label = str(row["label"])
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"{where}: annotation {number} has no segment of two times and a label.",
                'Write {"segment": [start, end], "label": ...}, with times in seconds.',
            ) from None
        if not 0 <= start_s < end_s:
            raise UsageError(f"{where}: annotation {number} ends before it starts ({start_s:g} s).")
        if end_s > length_s + _TOLERANCE_S:
            raise UsageError(
                f"{where}: annotation {number} ends at {end_s:g} s, and {path.name} at "
                f"{length_s:.1f} s."
            )
        actions.append(TimedLabel(start_s, min(end_s, length_s), label))

    actions.sort(key=lambda action: action.start_s)
    for first, second in itertools.pairwise(actions):
        if second.start_s < first.end_s and second.label != first.label:
            raise UsageError(
                f"{where}: {first.label!r} and {second.label!r} overlap at {second.start_s:g} s; "
                "several labels at one time are not supported."
            )
    return AnnotatedVideo(path, length_s, tuple(actions))
