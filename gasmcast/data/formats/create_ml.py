"""Read Create ML's JSON: a list of objects with the columns of an action classifier's table."""

from __future__ import annotations

from pathlib import Path

from gasmcast.data.clip_index import ClipIndex
from gasmcast.data.formats.json_file import read_json_file
from gasmcast.data.formats.tables import objects_to_index
from gasmcast.errors import UsageError

__all__ = ["read_create_ml"]


def read_create_ml(path: Path) -> ClipIndex:
    """Return the clips of a list of flat objects, such as `{"video", "label", "startTime"}`.

    Create ML lets its user name the columns of video, label, start and end; the names of
    `table_columns.py` are understood, among them its defaults `videoPath` and `label`.

    Raises:
        UsageError: the file is not in the format.
    """
    rows = read_json_file(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path} is not a list of objects, one for each clip.")
    return objects_to_index(path, "createml", rows, range(1, len(rows) + 1), unit="entry")
