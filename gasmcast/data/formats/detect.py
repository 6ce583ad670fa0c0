"""Detect the format of a data set by its content, and read it.

A folder is one in the format of Something-Something-V2, a folder with annotation files (one, or
`train.*`, `val.*` and `test.*`), or a folder per class. Of a file, the beginning decides.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gasmcast.data.clip_index import Clip, ClipIndex, FrameRange, named_split
from gasmcast.data.formats.activitynet import read_activitynet
from gasmcast.data.formats.create_ml import read_create_ml
from gasmcast.data.formats.cvat import read_cvat
from gasmcast.data.formats.folders import read_folders
from gasmcast.data.formats.label_studio import read_label_studio
from gasmcast.data.formats.table_columns import is_head
from gasmcast.data.formats.tables import read_jsonl, read_lines, read_table
from gasmcast.data.formats.via import read_via
from gasmcast.data.index_check import check_index
from gasmcast.errors import UsageError

__all__ = ["FORMATS", "SSV2", "detect_format", "read_annotations"]

SSV2 = "ssv2"
_FILE_READERS: dict[str, Callable[[Path], ClipIndex]] = {
    "table": read_table,
    "jsonl": read_jsonl,
    "lines": read_lines,
    "activitynet": read_activitynet,
    "labelstudio": read_label_studio,
    "cvat": read_cvat,
    "createml": read_create_ml,
    "via": read_via,
}
FORMATS = (SSV2, "folders", *_FILE_READERS)
"""Names that `--format` takes."""

_SSV2_FILES = ("labels", "train", "validation")
_FRAME_LISTS = ("train_frames.txt", "val_frames.txt")
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".xml", ".txt")
_HEAD_BYTES = 1 << 16
_ZIP_MARKS = ("PK\x03\x04", "PK\x05\x06")
"""Beginnings of archives; of the tools, only CVAT exports them."""
_JSON_MARKS = (
    ("activitynet", re.compile(r'"database"\s*:\s*\{')),
    ("via", re.compile(r'"(project|config)"\s*:\s*\{[^{}]*"(pid|pname|file)|"fid_list"|"_via_')),
    ("labelstudio", re.compile(r'"(annotations|completions|timelinelabels)"\s*:\s*\[')),
    ("createml", re.compile(r"^\s*\[\s*\{")),
)
"""What the first 64 kB of each JSON format hold; the first that matches is the format."""


def detect_format(path: Path) -> str:
    """Return the format of a data set, one of `FORMATS`.

    Args:
        path: a folder or an annotation file.

    Raises:
        UsageError: there is nothing, or it is in no format that is known.
    """
    if path.is_dir():
        if _is_ssv2(path):
            return SSV2
        files = _annotation_files(path)
        return _detect_file(files[0]) if files else "folders"
    if path.is_file():
        return _detect_file(path)
    raise UsageError(
        f"There is no data set at {path}.",
        "Make one with `gasmcast demo-data DIR`, or give a folder per class or an annotation file.",
    )


def read_annotations(path: Path, name: str) -> ClipIndex:
    """Return the index of a data set in any format but Something-Something-V2's.

    Args:
        path: folder or annotation file.
        name: format, as `detect_format` returns it or the user forces it.

    Raises:
        UsageError: the annotations are not in the format, or contradict themselves.
    """
    if name == "folders":
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder of class folders.", "Check --format.")
        _check_folders(path)
        return check_index(read_folders(path))

    reader = _FILE_READERS[name]
    files = [path] if path.is_file() else _annotation_files(path)
    if not files:
        raise UsageError(f"{path} has no annotation file.", "Give the file itself as --data.")
    if len(files) == 1:
        return check_index(reader(files[0]))
    return check_index(_merge(path, [reader(file) for file in files]))


def _is_ssv2(path: Path) -> bool:
    places = [path, path / "labels"]
    names = [f"{prefix}{name}.json" for name in _SSV2_FILES
             for prefix in ("", "something-something-v2-")]  # fmt: skip
    has_json = any((place / "labels.json").is_file() for place in places)
    has_json = has_json or any(
        (place / name).is_file() and _is_list_of_clips(place / name)
        for place in places
        for name in names
    )
    return has_json or any((path / name).is_file() for name in _FRAME_LISTS)


def _is_list_of_clips(path: Path) -> bool:
    head = _head(path)
    is_template = '"template"' in head or '"id"' in head
    return path.stem.endswith("labels") or is_template or not head.lstrip().startswith(("[", "{"))


def _annotation_files(path: Path) -> list[Path]:
    """Return the annotation files of a folder: one, or one per split.

    Raises:
        UsageError: there are several that are not one per split.
    """
    with os.scandir(path) as entries:
        names = sorted(
            e.name
            for e in entries
            if e.is_file()
            and not e.name.startswith((".", "README", "readme"))
            and e.name.lower().endswith(_SUFFIXES)
        )
    files = [path / name for name in names]

    # One file per split; otherwise one file, beside which texts such as licenses do not count.
    by_split = [file for file in files if named_split(file.stem.rpartition("_")[2])]
    if len(by_split) > 1:
        return by_split
    tables = [file for file in files if file.suffix.lower() != ".txt"] or files
    if len(tables) > 1:
        raise UsageError(
            f"{path} has several annotation files: {', '.join(f.name for f in tables[:5])}.",
            "Give one of them as --data, or name them train.csv and val.csv.",
        )
    return tables


def _merge(path: Path, parts: list[ClipIndex]) -> ClipIndex:
    """Return one index of the files of several splits; the name of a file is its split."""
    clips: list[Clip] = []
    idle: list[Clip] = []
    ranges: dict[int, FrameRange] = {}
    for part in parts:
        split = named_split(part.path.stem.rpartition("_")[2])
        for position, frames in part.frame_ranges.items():
            ranges[len(clips) + position] = frames
        clips += [clip._replace(split=split, file=str(part.path)) for clip in part.clips]
        idle += [clip._replace(split=split, file=str(part.path)) for clip in part.idle]
    return replace(
        parts[0], path=path, clips=clips, names=(), frame_ranges=ranges, idle=tuple(idle)
    )


def _check_folders(path: Path) -> None:
    with os.scandir(path) as entries:
        has_folders = any(e.is_dir() and not e.name.startswith(".") for e in entries)
    if not has_folders:
        raise UsageError(
            f"{path} has no labels.json, no annotation file and no folder per class.",
            "Put the clips of each class into a folder of its own, or give an annotation file.",
        )


def _detect_file(path: Path) -> str:
    head = _head(path).lstrip()
    if not head:
        raise UsageError(f"{path} is empty.", "It should list clips.")
    if head.startswith(("<", *_ZIP_MARKS)):
        return "cvat"
    if head.startswith(("{", "[")):
        return _detect_json(path, head)

    # A head names the columns; without one, each line is `path label`.
    cells = re.split(r"[,;\t]", head.splitlines()[0])
    return "table" if is_head([cell.strip().strip('"') for cell in cells]) else "lines"


def _detect_json(path: Path, head: str) -> str:
    if head.strip() in ("[]", "{}"):
        raise UsageError(f"{path} lists no clips.", "Export the annotations again.")

    lines = head.splitlines()
    if path.suffix.lower() in (".jsonl", ".ndjson") or _is_object(lines[0]):
        return "jsonl"
    if '"template"' in head and '"database"' not in head:
        raise UsageError(
            f"{path} is one split of a set in Something-Something-V2's format.",
            "Give the folder that holds labels.json and the splits as --data.",
        )
    for name, mark in _JSON_MARKS:
        if mark.search(head):
            return name
    raise UsageError(
        f"{path} is JSON, but in no format that is known: {', '.join(FORMATS)}.",
        "Name the format with --format, or convert it to CSV with the columns video,label.",
    )


def _is_object(line: str) -> bool:
    try:
        tree = json.loads(line)
    except ValueError:
        return False
    return isinstance(tree, dict) and "database" not in tree and "metadata" not in tree


def _head(path: Path) -> str:
    """Return the beginning of a text file, without its byte order mark."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return head.decode(encoding, "replace")
