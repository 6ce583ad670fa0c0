"""Expand what the user names into paths of videos: files, folders, patterns and manifests.

A manifest is a CSV, Parquet or JSONL file with one path per row. Its relative paths start at its
own folder, so a manifest can be moved together with its videos.
"""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gasmcast.archive.parquet import import_pyarrow
from gasmcast.errors import SourceError, UsageError
from gasmcast.files import load_json
from gasmcast.video.container import printable
from gasmcast.video.suffixes import VIDEO_SUFFIXES

__all__ = ["list_inputs"]

PATH_COLUMNS = ("path", "input", "file", "filename", "video")
"""Columns that hold the paths of a manifest; the first of them that is there is used."""
_BATCH_ROWS = 65_536


def list_inputs(texts: Sequence[str | Path]) -> list[str]:
    """Return the absolute paths of all videos, each once, in the order in which they are named.

    A file that a manifest names need not exist: that is an error of this one input, not of all.

    Args:
        texts: video files, folders (searched with their subfolders), patterns such as
            `clips/*.mp4`, and manifests (`.csv`, `.parquet`, `.jsonl`).

    Raises:
        SourceError: a file or folder is missing, or a folder, pattern or manifest has no video.
        UsageError: a manifest cannot be read, or has no column of paths.
        MachineError: a Parquet manifest, and pyarrow is not installed.
    """
    # A dictionary keeps the order and drops repetitions.
    paths: dict[str, None] = {}
    for text in texts:
        before = len(paths)
        known = False
        for path in _expand(str(text)):
            known = known or path in paths
            paths[path] = None
        if len(paths) == before and not known:
            raise SourceError(
                f"{printable(str(text))} has no videos.",
                f"Videos end in {', '.join(VIDEO_SUFFIXES)}.",
            )
    return list(paths)


def _expand(text: str) -> Iterable[str]:
    """Return the paths behind one argument."""
    path = Path(text)
    if path.is_dir():
        return _videos_in(path)
    if path.is_file():
        reader = _READERS.get(path.suffix.lower())
        return _manifest(path, reader) if reader else [_absolute(text)]

    # A file whose name looks like a pattern is that file, so patterns come last.
    if glob.has_magic(text):
        matches = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute ones
        return sorted(_absolute(match) for match in matches if Path(match).is_file())
    raise SourceError(
        f"There is no {printable(text)}.",
        "Give a video, a folder, a quoted pattern, or a manifest (.csv, .parquet, .jsonl).",
    )


def _videos_in(folder: Path) -> Iterator[str]:
    """Yield the videos of a folder and its subfolders in order, without hidden ones."""
    for parent, folders, files in os.walk(folder.absolute()):
        # Sorted in place, which is the order in which `os.walk` goes on.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield os.path.join(parent, name)  # noqa: PTH118 - a million times


def _manifest(path: Path, reader: Callable[[Path], Iterator[object]]) -> Iterator[str]:
    """Yield the paths of a manifest.

    Raises:
        UsageError: it cannot be read, or a row has no path.
    """
    folder = path.absolute().parent
    for number, value in enumerate(reader(path), start=1):
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise UsageError(
                f"{path}: row {number} has no path.",
                "Every row needs the path of a video; remove empty rows.",
            )
        yield _absolute(folder / value)


def _absolute(path: str | Path) -> str:
    # Links stay as they are: they are the names that the user knows.
    return os.path.abspath(path)  # noqa: PTH100 - see above


def _column(path: Path, names: Iterable[str]) -> str:
    """Return which column holds the paths.

    Raises:
        UsageError: none of the known names is there.
    """
    present = list(names)
    for name in PATH_COLUMNS:
        if name in present:
            return name
    listed = ", ".join(printable(name)[:40] for name in present[:10]) or "none"
    raise UsageError(
        f"{path} has no column of paths (columns: {listed}).",
        f"Name the column one of: {', '.join(PATH_COLUMNS)}.",
    )


def _read_csv(path: Path) -> Iterator[object]:
    try:
        # The byte order mark is that of Excel.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            column = _column(path, rows.fieldnames or ())
            for row in rows:
                yield row[column]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} is not a CSV file in UTF-8 ({error}).", "Save it as CSV in UTF-8."
        ) from None


def _read_jsonl(path: Path) -> Iterator[object]:
    column = ""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = load_json(line)
            except ValueError as error:
                raise UsageError(
                    f"{path}: line {number} is not JSON ({error}).",
                    "Write a path in quotes, or an object that holds one, on each line.",
                ) from None

            # A line is a path in quotes, or an object that holds one.
            if isinstance(row, dict):
                column = column or _column(path, row)
                yield row.get(column)
            else:
                yield row


def _read_parquet(path: Path) -> Iterator[object]:
    arrow, parquet = import_pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            column = _column(path, file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
                yield from batch.column(0).to_pylist()
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"{path} is not a complete Parquet file ({reason}).", "Write it again."
        ) from None


_READERS: dict[str, Callable[[Path], Iterator[object]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
