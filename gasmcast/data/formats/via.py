"""Read a project of VGG Image Annotator 3 (VIA, Dutta and Zisserman 2019): spans of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from gasmcast.data.clip_index import Clip, ClipIndex
from gasmcast.data.formats.json_file import read_json_file
from gasmcast.data.formats.table_columns import seconds
from gasmcast.data.formats.video_names import VideoFinder
from gasmcast.errors import UsageError
from gasmcast.labels import class_name

__all__ = ["read_via"]


def read_via(path: Path) -> ClipIndex:
    """Return the annotated spans of a VIA 3 project (its temporal segments).

    A span's class is the value of its first attribute: an option's text, or free text.

    Raises:
        UsageError: the file is not in the format, or a span has several classes.
    """
    tree = read_json_file(path)
    tables: dict[str, dict[str, Any]] = {}
    for key in ("file", "view", "metadata", "attribute"):
        table = tree.get(key) if isinstance(tree, dict) else None
        if not isinstance(table, dict):
            raise UsageError(f"{path} has no object `{key}`, as a project of VIA 3 has.")
        tables[key] = table

    finder = VideoFinder(path.parent)
    clips = []
    for number, entry in enumerate(tables["metadata"].values(), 1):
        place = f"{path}, entry {number}"
        times = entry.get("z") or []
        if len(times) != 2:  # a point in time or a region of a frame
            continue
        video = finder.find(*_video_names(tables, str(entry.get("vid")), place))
        clip = Clip(
            video=video.path,
            label=_label(tables["attribute"], entry.get("av") or {}, place),
            start_s=seconds(times[0], place, "start"),
            end_s=seconds(times[1], place, "end"),
            row=number,
            exists=video.exists,
        )
        clips.append(clip)
    return ClipIndex(path, "via", clips, unit="entry")


def _video_names(tables: dict[str, Any], view: str, place: str) -> list[str]:
    files = (tables["view"].get(view) or {}).get("fid_list") or []
    if len(files) != 1:
        raise UsageError(f"{place}: the annotated span belongs to {len(files)} files, not to one.")
    file = tables["file"].get(str(files[0])) or {}
    names = [file.get("src"), file.get("fname")]
    names = [unquote(urlsplit(n).path) if "://" in str(n) else n for n in names]
    texts = [name for name in names if isinstance(name, str) and name]
    if not texts:
        raise UsageError(f"{place}: the file of the annotated span has no name.")
    return texts


def _label(attributes: dict[str, Any], values: dict[str, Any], place: str) -> str:
    labels: list[str] = []
    for key, value in values.items():
        options = (attributes.get(str(key)) or {}).get("options") or {}
        parts = [part for part in str(value).split(",") if part.strip()]
        # Check boxes store the numbers of several options, separated by commas.
        if options and all(part in options for part in parts):
            labels += [str(options[part]) for part in parts]
        elif str(value).strip():
            labels.append(str(value))

    if len(labels) != 1:
        raise UsageError(
            f"{place}: the annotated span has the classes {labels}; exactly one is needed.",
            "Give each span one value of one attribute.",
        )
    return class_name(labels[0]).strip()
