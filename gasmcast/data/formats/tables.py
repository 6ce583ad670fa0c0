"""Read one table of clips: CSV, TSV, semicolons, JSON lines, or lines `path label`.

Columns are `video,label[,start,end,split,source]` or their common aliases, among them those of
Kinetics (`label,youtube_id,time_start,time_end,split`) and of Create ML (`startTime`, `endTime`).
Lines without a head are `path label`, as MMAction2 and VideoMAE write them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gasmcast.data.clip_index import Clip, ClipIndex, FrameRange
from gasmcast.data.formats.table_columns import find_columns
from gasmcast.data.formats.table_rows import RowParser
from gasmcast.data.formats.video_names import VideoFinder
from gasmcast.errors import UsageError
from gasmcast.labels import class_name
from gasmcast.video.suffixes import VIDEO_SUFFIXES

__all__ = ["objects_to_index", "read_jsonl", "read_lines", "read_table"]

Rows = Iterator[tuple[int, Sequence[object]]]
"""Number and cells of each row."""

_MARKS = ("\t", ",", ";", " ")
"""What separates the class of a line from its path, the rarest in paths first."""

csv.field_size_limit(1 << 20)


def read_table(path: Path) -> ClipIndex:
    """Return the clips of a table with a head, separated by commas, tabs or semicolons.

    Raises:
        UsageError: the text is not UTF-8 or UTF-16, a column is missing or a cell is wrong.
    """
    with _open(path) as stream:
        first = stream.readline()
        stream.seek(0)
        separator = max("\t;,", key=first.count)
        reader = csv.reader(stream, delimiter=separator, skipinitialspace=True)
        try:
            head = next(reader, [])
            rows = ((reader.line_num, row) for row in reader)
            return clips_of_rows(path, "table", head, rows, unit="line")
        except csv.Error as error:
            raise UsageError(f"{path}, line {reader.line_num}: not a table ({error}).") from None


def read_jsonl(path: Path) -> ClipIndex:
    """Return the clips of a file with one JSON object a line.

    Raises:
        UsageError: a line is no object, lacks video or label, or has a wrong value.
    """
    with _open(path) as stream:
        parsed: list[dict[str, object]] = []
        numbers: list[int] = []
        for line_number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UsageError(f"{path}, line {line_number}: not JSON ({error}).") from None
            if not isinstance(row, dict):
                raise UsageError(f"{path}, line {line_number}: not a JSON object.")
            parsed.append(row)
            numbers.append(line_number)
    return objects_to_index(path, "jsonl", parsed, numbers, unit="line")


def objects_to_index(
    path: Path,
    name: str,
    objects: Sequence[dict[str, object]],
    numbers: Sequence[int],
    *,
    unit: str,
) -> ClipIndex:
    """Return the clips of JSON objects whose keys are the columns.

    Args:
        path: annotation file.
        name: name of the format.
        objects: one for each clip.
        numbers: row of each object.
        unit: what rows are counted in: "line" or "entry".

    Raises:
        UsageError: a column is missing, or a value is wrong.
    """
    if not objects:
        return ClipIndex(path, name, [], unit=unit)
    head = list(dict.fromkeys(key for row in objects for key in row))
    used = {head[i] for i in find_columns(head, str(path)).values()}
    rows = []
    for number, row in zip(numbers, objects, strict=True):
        nested = next((k for k in used if isinstance(row.get(k), list | dict)), None)
        if nested is not None:
            raise UsageError(
                f"{path}, {unit} {number}: {nested} {str(row[nested])[:60]} is not one value.",
                "Give each clip one class; several at a time are not supported.",
            )
        rows.append((number, [row.get(key) for key in head]))
    return clips_of_rows(path, name, head, iter(rows), unit=unit)


def read_lines(path: Path) -> ClipIndex:
    """Return the clips of lines `path label` without a head; a path may hold spaces.

    Raises:
        UsageError: a line has no label.
    """
    finder = VideoFinder(path.parent)
    clips = []
    with _open(path) as stream:
        for line_number, line in enumerate(stream, 1):
            text = line.strip()
            if not text:
                continue
            parts = [_name_and_label(text, mark) for mark in _MARKS if mark in text]
            if not parts:
                raise UsageError(
                    f"{path}, line {line_number}: {text[:60]!r} is not `path label`.",
                    "Write the video, a space and the class, or a table with a head.",
                )

            # A path may hold the other separators: what is before the right one is a video.
            name, label = next(
                (p for p in parts if p[0].lower().endswith(VIDEO_SUFFIXES)), parts[0]
            )
            video = finder.find(name)
            clips.append(Clip(video.path, class_name(label), row=line_number, exists=video.exists))
    return ClipIndex(path, "lines", clips)


def _name_and_label(text: str, mark: str) -> tuple[str, str]:
    name, _, label = text.rpartition(mark)
    return name.strip().strip('"'), label.strip().strip('"')


def clips_of_rows(
    path: Path, name: str, head: Sequence[str], rows: Rows, *, unit: str
) -> ClipIndex:
    """Return the clips of rows of cells.

    Args:
        path: annotation file.
        name: name of the format.
        head: names of the columns.
        rows: number and cells of each row; rows without any text are skipped.
        unit: what rows are counted in: "line" or "entry".

    Raises:
        UsageError: a column is missing, or a cell is empty or wrong.
    """
    columns = find_columns(head, str(path))
    parser = RowParser(path, unit, head, columns)
    width = max(columns.values()) + 1
    clips: list[Clip] = []
    ranges: dict[int, FrameRange] = {}

    for number, cells in rows:
        if len(cells) < width:
            if not any(str(cell).strip() for cell in cells):
                continue
            raise UsageError(
                f"{path}, {unit} {number}: {len(cells)} cells, but the head has {len(head)}.",
                "Put texts that hold the separator in quotes.",
            )
        clip = parser.clip(number, cells)
        if parser.in_frames and clip.start_s is None:
            ranges[len(clips)] = parser.frames(number, cells)
        clips.append(clip)
    return ClipIndex(path, name, clips, unit=unit, frame_ranges=ranges)


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """Open a text in UTF-8 or, with its byte order mark, UTF-16.

    Raises:
        UsageError: it is in another encoding; the first such line is named.
    """
    with path.open("rb") as stream:
        mark = stream.read(2)
    encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        with path.open(encoding=encoding, newline="") as text:
            yield text
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}, line {_undecodable_line(path)}: not text in UTF-8 or UTF-16"
            f" ({error.reason}).",
            "Save it as UTF-8.",
        ) from None


def _undecodable_line(path: Path) -> int:
    """Return the number of the first line that is not UTF-8."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if "\ufffd" in line.decode(errors="replace"):
                return number
    return 1
