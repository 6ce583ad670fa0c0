"""Read the JSON export of Label Studio: `timelinelabels` of frame ranges, and `choices` of videos.

Frames count from 1, and the last one belongs to the range. Label Studio counts frames by the rate
of its own player (`frameRate` of the tag Video, 24 unless it is set), which may not be the file's.
The rate is `framesCount` by `duration` of a region, otherwise `fps` of the task's data, which the
tag can take as `frameRate="$fps"`; a file at another rate is refused. See `tags/object/Video/` in
`web/libs/editor/src` of HumanSignal/label-studio.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from gasmcast.data.clip_index import Clip, ClipIndex, FrameRange, Split, split_name
from gasmcast.data.formats.json_file import read_json_file
from gasmcast.data.formats.table_columns import number as parse_number
from gasmcast.data.formats.video_names import VideoFinder
from gasmcast.errors import UsageError
from gasmcast.labels import class_name

__all__ = ["read_label_studio"]

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
"""Label Studio puts this before the name of an uploaded file."""
_DEFAULT_FPS = 24.0
"""Rate of the tag Video where `frameRate` is not set."""
_RATE_KEYS = ("fps", "frameRate", "framerate", "frame_rate")
"""Keys of a task's data that hold the rate of its video."""


class _Region(NamedTuple):
    label: str
    frames: FrameRange | None
    """None: the whole video."""


def read_label_studio(path: Path) -> ClipIndex:
    """Return the labeled clips of a Label Studio export; tasks without annotation are left out.

    Raises:
        UsageError: the file is not in the format, or a region has several classes.
    """
    tasks = read_json_file(path)
    if not isinstance(tasks, list):
        raise UsageError(f"{path} is not a list of tasks.", "Export the project as JSON.")

    finder = VideoFinder(path.parent)
    clips: list[Clip] = []
    ranges: dict[int, FrameRange] = {}
    for number, entry in enumerate(tasks, 1):
        place = f"{path}, entry {number}"
        task = _full_task(entry, place)
        regions = list(_regions(task, place))
        if not regions:
            continue

        data = task.get("data") or {}
        video = finder.find(*_video_names(task, place))
        source = data.get("source") if isinstance(data, dict) else None
        split = _split(data, place)
        for region in regions:
            # Frames become seconds once the file's own rate is known.
            if region.frames is not None:
                ranges[len(clips)] = region.frames
            clip = Clip(
                video=video.path,
                label=region.label,
                split=split,
                source=str(source) if source else None,
                row=number,
                exists=video.exists,
            )
            clips.append(clip)
    return ClipIndex(path, "labelstudio", clips, unit="entry", frame_ranges=ranges)


def _full_task(task: Any, place: str) -> dict[str, Any]:  # noqa: ANN401 - parsed JSON
    """Return a task; one of JSON-MIN, whose data and regions are flat, as a task of JSON."""
    if not isinstance(task, dict):
        raise UsageError(f"{place}: not a task.", "Export the project as JSON.")
    if not {"data", "annotations", "completions"}.isdisjoint(task):
        return task
    lists = [values for values in task.values() if isinstance(values, list)]
    results = [{"value": v} for values in lists for v in values if isinstance(v, dict)]
    return {"data": task, "annotations": [{"result": results}]}


def _split(data: Any, place: str) -> Split | None:  # noqa: ANN401 - parsed JSON
    text = data.get("split") if isinstance(data, dict) else None
    return split_name(str(text), place) if text is not None else None


def _video_names(task: dict[str, Any], place: str) -> list[str]:
    """Return the names that a task's video may have on the disk."""
    data = task.get("data")
    values = list(data.values()) if isinstance(data, dict) else []
    video = data.get("video") if isinstance(data, dict) else None
    url = video or next((v for v in values if isinstance(v, str) and "." in v), None)
    if not isinstance(url, str):
        raise UsageError(f"{place}: the task has no video in `data`.")

    # Local storage puts the path into the query: /data/local-files/?d=folder/a.mp4
    parts = urlsplit(url)
    local = parse_qs(parts.query).get("d", [])
    names = [url, *local, unquote(parts.path)]
    base = unquote(parts.path).rpartition("/")[2]
    if _UPLOAD_PREFIX.match(base):
        names.append(_UPLOAD_PREFIX.sub("", base))
    return [name for name in names if name]


def _regions(task: dict[str, Any], place: str) -> Iterator[_Region]:
    annotations = task.get("annotations", task.get("completions")) or []
    for annotation in annotations:
        if annotation.get("was_cancelled"):
            continue

        for result in annotation.get("result") or []:
            value = result.get("value") or {}
            if "timelinelabels" in value:
                label = _one(value["timelinelabels"], place)
                for span in value.get("ranges") or []:
                    yield _Region(label, _frames(span, _fps(value, task, place), value, place))
            elif "choices" in value:
                yield _Region(_one(value["choices"], place), None)

        # Further annotations of the same task are other people's opinions of the same clips.
        break


def _fps(value: dict[str, Any], task: dict[str, Any], place: str) -> float | None:
    """Return the rate that the frames of a region count in; None where it is not stated."""
    count = parse_number(value.get("framesCount"), place, "framesCount")
    duration_s = parse_number(value.get("duration"), place, "duration")
    if count and duration_s:
        return count / duration_s

    # The tag takes a rate below 1 as the seconds of a frame.
    data = task.get("data")
    key = next((k for k in _RATE_KEYS if k in data), None) if isinstance(data, dict) else None
    fps = parse_number(data[key], place, key) if isinstance(data, dict) and key else None
    if fps is not None and fps <= 0:
        raise UsageError(f"{place}: {key} is {fps:g}.", "Give the frames per second of the video.")
    return 1.0 / fps if fps and fps < 1 else fps


def _frames(
    span: dict[str, Any], fps: float | None, value: dict[str, Any], place: str
) -> FrameRange:
    try:
        first, last = int(span["start"]), int(span["end"])
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{place}: the range {str(span)[:60]} is not start and end.") from None

    count = parse_number(value.get("framesCount"), place, "framesCount")
    frames = int(count) if count else None
    return FrameRange(first - 1, last, fps, frames, default_fps=_DEFAULT_FPS)


def _one(labels: Any, place: str) -> str:  # noqa: ANN401 - parsed JSON
    if labels in ([], [None]):
        raise UsageError(f"{place}: a region has no class.", "Give each region one class.")
    if not isinstance(labels, list) or len(labels) != 1 or not str(labels[0]).strip():
        raise UsageError(
            f"{place}: a region has the classes {str(labels)[:80]}; several at a time are not"
            " supported.",
            "Give each region one class.",
        )
    return class_name(str(labels[0])).strip()
