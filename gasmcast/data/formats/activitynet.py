"""Read ActivityNet's JSON: `database`, by video id, with `subset` and `annotations` of spans.

The format is that of Heilbron et al. 2015 (ActivityNet: a large-scale video benchmark), which
THUMOS14, HACS and FineAction are distributed in as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gasmcast.data.clip_index import Clip, ClipIndex, named_split
from gasmcast.data.formats.json_file import read_json_file
from gasmcast.data.formats.table_columns import seconds
from gasmcast.data.formats.video_names import VideoFinder
from gasmcast.errors import UsageError
from gasmcast.labels import class_name

__all__ = ["read_activitynet"]


def read_activitynet(path: Path) -> ClipIndex:
    """Return the annotated spans of an ActivityNet file; videos without any are `idle`.

    Raises:
        UsageError: the file is not in the format.
    """
    tree = read_json_file(path)
    database = tree.get("database") if isinstance(tree, dict) else None
    if not isinstance(database, dict):
        raise UsageError(
            f"{path} has no object `database`, as ActivityNet's JSON has.",
            "Check the file, or name its format with --format.",
        )

    finder = VideoFinder(path.parent)
    clips: list[Clip] = []
    idle: list[Clip] = []
    for number, (name, entry) in enumerate(database.items(), 1):
        place = f"{path}, entry {number}"
        if not isinstance(entry, dict):
            raise UsageError(
                f"{place}: {name!r} is not an object.",
                'Each video needs {"subset": ..., "annotations": [...]}.',
            )

        # Files of ActivityNet itself begin with v_.
        video = finder.find(name, f"v_{name}", *_file_names(entry))
        split = named_split(str(entry.get("subset", "")))
        source = entry.get("source")
        if not entry.get("annotations"):
            idle.append(Clip(video.path, None, split=split, row=number, exists=video.exists))
        for annotation in entry.get("annotations") or []:
            start_s, end_s = _segment(annotation, place)
            clip = Clip(
                video=video.path,
                label=_label(annotation, place),
                start_s=start_s,
                end_s=end_s,
                split=split,
                source=str(source) if source else None,
                row=number,
                exists=video.exists,
            )
            clips.append(clip)
    return ClipIndex(path, "activitynet", clips, unit="entry", idle=tuple(idle))


def _file_names(entry: dict[str, Any]) -> list[str]:
    names = [entry.get("file_name"), entry.get("path")]
    return [name for name in names if isinstance(name, str) and name]


def _label(annotation: Any, place: str) -> str:  # noqa: ANN401 - parsed JSON
    label = annotation.get("label") if isinstance(annotation, dict) else None
    if not isinstance(label, str) or not label.strip():
        raise UsageError(f"{place}: an annotation has no label.", "Give each annotation a class.")
    return class_name(label).strip()


def _segment(annotation: dict[str, Any], place: str) -> tuple[float | None, float | None]:
    segment = annotation.get("segment")
    if segment is None:
        return None, None
    if not isinstance(segment, list) or len(segment) != 2:
        raise UsageError(
            f"{place}: `segment` is {str(segment)[:60]}, which is not [start, end].",
            "Give two times in seconds.",
        )
    return seconds(segment[0], place, "start"), seconds(segment[1], place, "end")
