"""Columns of annotation tables: their aliases, and the values of their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gasmcast.errors import UsageError

__all__ = ["find_columns", "is_head", "number", "seconds"]

_ALIASES = {
    "video": (
        "video", "video_path", "videopath", "path", "file", "filename", "file_name", "filepath",
        "file_path", "clip", "video_name", "video_id", "youtube_id", "id", "name", "url",
    ),
    "label": (
        "label", "class", "class_name", "action", "category", "label_name", "target", "choice",
    ),
    "start": (
        "start", "start_s", "start_time", "starttime", "time_start", "begin", "start_sec",
        "start_seconds", "onset", "t_start",
    ),
    "end": (
        "end", "end_s", "end_time", "endtime", "time_end", "stop", "end_sec", "end_seconds",
        "offset", "t_end",
    ),
    "start_frame": ("start_frame", "startframe", "frame_start", "first_frame"),
    "end_frame": ("end_frame", "endframe", "frame_end", "stop_frame", "last_frame"),
    "fps": ("fps", "frame_rate", "framerate"),
    "split": ("split", "subset", "set", "partition", "usage", "fold"),
    "source": ("source", "group", "recording", "scene", "session", "subject", "person"),
}  # fmt: skip
"""Names of each column, the preferred one first; upper case, spaces and dashes are ignored."""


def is_head(cells: Sequence[str]) -> bool:
    """Return whether the cells name columns: the class, or two other ones.

    Args:
        cells: first line of a text.
    """
    names = set(_normalized(cells))
    columns = [name for aliases in _ALIASES.values() for name in aliases]
    return not names.isdisjoint(_ALIASES["label"]) or len(names.intersection(columns)) > 1


def _normalized(head: Sequence[str]) -> list[str]:
    return [name.strip().lower().replace(" ", "_").replace("-", "_") for name in head]


def find_columns(head: Sequence[str], place: str) -> dict[str, int]:
    """Return the number of each column that is there, by its preferred name.

    Args:
        head: names of the columns.
        place: position in the annotations, for the message.

    Raises:
        UsageError: no column names the video or the class, or a name occurs twice.
    """
    names = _normalized(head)
    columns: dict[str, int] = {}
    for column, aliases in _ALIASES.items():
        for alias in aliases:
            if names.count(alias) > 1:
                raise UsageError(f"{place}: the column {alias!r} occurs twice.", "Rename one.")
            if alias in names:
                columns[column] = names.index(alias)
                break

    for needed in ("video", "label"):
        if needed not in columns:
            raise UsageError(
                f"{place}: there is no column {needed!r} among {', '.join(head)[:200]}.",
                "Name the columns video,label[,start,end,split,source].",
            )
    return columns


def seconds(value: object, place: str, column: str) -> float | None:
    """Return a time in seconds from a number or `[hh:]mm:ss[.fff]`; None for an empty cell.

    Raises:
        UsageError: the cell is no time.
    """
    if value is None or value == "":
        return None
    try:
        return _finite(value)
    except (TypeError, ValueError):
        parts = str(value).strip().split(":")
    total = _clock_s(parts)
    if total is None:
        raise UsageError(
            f"{place}: {column} {str(value)[:40]!r} is no time.",
            "Write seconds, such as 12.5, or hh:mm:ss.",
        )
    return total


def _clock_s(parts: Sequence[str]) -> float | None:
    """Return the seconds of hours, minutes and seconds; None if they are no such numbers."""
    if not 2 <= len(parts) <= 3:
        return None
    try:
        numbers = [_finite(part) for part in parts]
    except ValueError:
        return None
    return sum(value * 60.0**power for power, value in enumerate(reversed(numbers)))


def number(value: object, place: str, column: str) -> float | None:
    """Return a number, None for an empty cell.

    Raises:
        UsageError: the cell is no number.
    """
    if value is None or value == "":
        return None
    try:
        return _finite(value)
    except (TypeError, ValueError):
        raise UsageError(f"{place}: {column} {str(value)[:40]!r} is no number.") from None


def _finite(value: object) -> float:
    result = float(value)  # type: ignore[arg-type] # whatever float refuses is caught
    if isinstance(value, bool) or not math.isfinite(result):
        raise ValueError(value)
    return result
