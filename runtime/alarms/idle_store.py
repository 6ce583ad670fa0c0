"""Idle logits of a user's cameras: logits and times of windows, in one file without pictures.

While a run goes on, complete parts lie in a folder beside the file; at its end, or at the next run
after a power failure, they are merged into the file in one atomic step.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gasmcast.errors import UsageError
from gasmcast.files import atomic_path
from gasmcast.schema import Frozen

__all__ = ["COLUMNS", "Columns", "IdleHead", "IdleLogits", "add_part", "merge_parts", "read_idle"]

IDLE_VERSION = 1
COLUMNS = ("logits", "time_s", "camera", "run")
_TYPES = {"logits": np.float32, "time_s": np.float64, "camera": np.int32, "run": np.int32}
_HINT = "Give a file that `gasmcast background` wrote."
# A file may come from anyone; this many bytes of one column are more than a year of one camera.
_LARGEST_BYTES = 1 << 34

Columns = dict[str, NDArray[Any]]


class IdleHead(Frozen):
    """Facts that all rows of a file share; logits of another model or precision do not fit."""

    labels: tuple[str, ...]
    precision: str
    checkpoint_sha256: str
    window_s: float = Field(gt=0, allow_inf_nan=False)
    hop_s: float = Field(gt=0, allow_inf_nan=False)
    """Seconds between two decisions."""
    cameras: tuple[str, ...] = ()
    """Names of the sources; the column `camera` holds positions in it."""
    finished: tuple[str, ...] = ()
    """Files that were read to their end, and are not read again."""

    def same_model(self, other: IdleHead) -> bool:
        """Return whether rows of the two may lie in one file."""
        keys = ("labels", "precision", "checkpoint_sha256", "window_s", "hop_s")
        return all(getattr(self, key) == getattr(other, key) for key in keys)


@dataclass(frozen=True)
class IdleLogits:
    """Rows of all cameras, in the order in which they were decided.

    Rows of one camera with the same `run` follow each other without a gap.
    """

    head: IdleHead
    logits: NDArray[np.float32]
    """`(N, classes)`."""
    time_s: NDArray[np.float64]
    """`(N,)` end of each window, in seconds after the first frame of its source."""
    camera: NDArray[np.int32]
    """`(N,)` position in `head.cameras`."""
    run: NDArray[np.int32]
    """`(N,)` number of the uninterrupted stretch."""

    def __len__(self) -> int:
        return len(self.time_s)

    def runs(self) -> list[NDArray[np.intp]]:
        """Return the rows of each uninterrupted stretch of each camera, in order of time."""
        order = np.lexsort((np.arange(len(self)), self.run, self.camera))
        if not len(order):
            return []
        keys = np.stack([self.camera[order], self.run[order]], axis=1)  # (N, 2)
        cuts = np.flatnonzero(np.any(np.diff(keys, axis=0), axis=1)) + 1
        return np.split(order, cuts)

    def hours(self) -> dict[str, float]:
        """Return the hours of each camera in which it could have raised an event.

        The first window of a stretch counts one hop, each later one the time since the last.
        """
        seconds = dict.fromkeys(self.head.cameras, 0.0)
        for rows in self.runs():
            times = self.time_s[rows]
            name = self.head.cameras[int(self.camera[rows[0]])]
            seconds[name] += self.head.hop_s + float(times[-1] - times[0])
        return {name: value / 3600 for name, value in seconds.items()}


@dataclass
class _Parts:
    """Rows that were read from the file and its parts."""

    head: IdleHead | None = None
    rows: list[Columns] = field(default_factory=list)


def add_part(path: Path, head: IdleHead, columns: Columns) -> None:
    """Write rows as one part beside `path`; a part is complete or absent.

    Args:
        path: the file of the whole recording.
        head: facts of all rows so far.
        columns: arrays by the names in `COLUMNS`.
    """
    folder = _parts_folder(path)
    numbers = [int(part.stem) for part in folder.glob("[0-9]*.npz")] if folder.is_dir() else []
    _write(folder / f"{max(numbers, default=0) + 1:06d}.npz", head, [columns])


def merge_parts(path: Path) -> None:
    """Merge the parts beside `path` into it; does nothing without parts."""
    folder = _parts_folder(path)
    if not folder.is_dir():
        return
    parts = _load(path)
    if parts.head is not None and parts.rows:
        _write(path, parts.head, parts.rows)
    shutil.rmtree(folder)


def read_idle(path: Path) -> IdleLogits:
    """Read idle logits, with the parts of a run that was cut off.

    Raises:
        UsageError: no such file, or one that `gasmcast background` did not write.
    """
    parts = _load(path)
    if parts.head is None or not parts.rows:
        raise UsageError(f"{path} holds no idle logits.", _HINT)

    whole = {key: np.concatenate([rows[key] for rows in parts.rows]) for key in COLUMNS}
    return IdleLogits(
        head=parts.head,
        logits=whole["logits"],
        time_s=whole["time_s"],
        camera=whole["camera"],
        run=whole["run"],
    )


def _parts_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.parts")


def _load(path: Path) -> _Parts:
    """Read the file and its parts, in order; the newest head counts."""
    folder = _parts_folder(path)
    files = [path] if path.is_file() else []
    files += sorted(folder.glob("[0-9]*.npz")) if folder.is_dir() else []

    parts = _Parts()
    for file in files:
        head, rows = _read(file)
        if parts.head is not None and not parts.head.same_model(head):
            raise UsageError(f"{file} is of another model or precision than {path}.", _HINT)
        # A crash between the merge and the removal of the parts leaves rows that were merged.
        parts.head = head
        if parts.rows and _holds(parts.rows[0], rows):
            continue
        parts.rows.append(rows)
    return parts


def _holds(whole: Columns, part: Columns) -> bool:
    """Return whether the rows of a part are among those of the merged file."""
    key = (part["camera"][0], part["run"][0], part["time_s"][0]) if len(part["run"]) else None
    if key is None:
        return True
    same = (whole["camera"] == key[0]) & (whole["run"] == key[1]) & (whole["time_s"] == key[2])
    return bool(same.any())


def _write(path: Path, head: IdleHead, parts: list[Columns]) -> None:
    """Write an `.npz` by streaming, so that a long recording needs no second copy in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = {"version": IDLE_VERSION, **head.model_dump(mode="json")}
    with atomic_path(path) as draft, zipfile.ZipFile(draft, "w") as archive:
        with archive.open("head.npy", "w") as stream:
            np.lib.format.write_array(stream, np.asarray(json.dumps(tree)))
        for key in COLUMNS:
            first = parts[0][key]
            shape = (sum(len(rows[key]) for rows in parts), *first.shape[1:])
            header = {"descr": first.dtype.str, "fortran_order": False, "shape": shape}
            with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                for rows in parts:
                    stream.write(np.ascontiguousarray(rows[key]).tobytes())


def _read(path: Path) -> tuple[IdleHead, Columns]:
    """Read one file and check everything that is computed with later."""
    problem = ""
    columns: Columns = {}
    head: IdleHead | None = None
    try:
        if path.stat().st_size <= _LARGEST_BYTES:
            # Opened here, because numpy leaves a file open that is no archive.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                tree = json.loads(str(archive["head"]))
                columns = {key: archive[key] for key in COLUMNS}

            # Columns of another version may mean something else.
            version = tree.pop("version")
            if version == IDLE_VERSION:
                head = IdleHead.model_validate(tree)
                problem = _problem(head, columns)
            else:
                problem = f"version {version}, this gasmcast reads {IDLE_VERSION}"
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        problem = str(error).partition("\n")[0] or type(error).__name__

    if problem or head is None:
        raise UsageError(f"{path} cannot be read as idle logits ({problem or 'too large'}).", _HINT)
    return head, columns


def _problem(head: IdleHead, columns: Columns) -> str:
    """Return what is wrong with the columns; empty if nothing is."""
    rows = len(columns["time_s"])
    for key, kind in _TYPES.items():
        width = (len(head.labels),) if key == "logits" else ()
        if columns[key].dtype != kind or columns[key].shape != (rows, *width):
            return f"the column {key} has another type or shape"
    if not np.isfinite(columns["logits"]).all() or not np.isfinite(columns["time_s"]).all():
        return "it holds numbers that are not finite"
    if rows and not 0 <= columns["camera"].min() <= columns["camera"].max() < len(head.cameras):
        return "a row belongs to no camera"
    return ""
