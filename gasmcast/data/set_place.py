"""Place of the data set that a run was trained on, kept in the run folder."""

from __future__ import annotations

import json
from pathlib import Path

from gasmcast.files import read_json, write_atomic

__all__ = ["read_data_place", "write_data_place"]

NAME = "data_set.json"


def write_data_place(run: Path, data: Path) -> None:
    """Note in a run folder where its data set lies."""
    write_atomic(run / NAME, json.dumps({"path": str(data.absolute())}))


def read_data_place(run: Path) -> Path | None:
    """Return where the data set of a run lies; None for a run that does not say it.

    Raises:
        UsageError: the note is damaged.
    """
    if not (run / NAME).is_file():
        return None
    return Path(str(read_json(run / NAME, dict, "path")["path"]))
