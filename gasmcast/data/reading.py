"""Open a data set in any format, with the options that a verb was given.

The options of the current call (format, leaks allowed, context of annotated spans) are kept in a
context variable, because they belong to the data and every function that reads it needs the same
ones.
"""

from __future__ import annotations

import gc
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from gasmcast.data.clip_index import ClipIndex, Split
from gasmcast.data.formats.detect import FORMATS, SSV2, detect_format, read_annotations
from gasmcast.data.formats.ssv2 import read_ssv2
from gasmcast.data.frame_ranges import with_seconds
from gasmcast.data.splits import Footage, Leak, check_leaks, find_leaks, with_split
from gasmcast.errors import UsageError

__all__ = [
    "ReadOptions",
    "leaks_of",
    "open_any_index",
    "open_index",
    "read_as",
    "read_format",
    "read_options",
]


class ReadOptions(NamedTuple):
    """Options of reading a data set."""

    format: str | None = None
    """Format of the annotations; None: detected."""
    allow_leak: bool = False
    """Whether a source may be in train and in another split."""
    context_s: float = 0.0
    """Seconds before and after an annotated span that its windows may show."""


_OPTIONS: ContextVar[ReadOptions] = ContextVar("read_options", default=ReadOptions())  # noqa: B039


def read_as(
    data_format: str | None = None, *, allow_leak: bool = False, context_s: float = 0.0
) -> None:
    """Set how data sets are read from now on, until the next call.

    Args:
        data_format: format of the annotations; None: detected.
        allow_leak: accept sources in train and in another split; every report says so.
        context_s: seconds before and after an annotated span that its windows may show.

    Raises:
        UsageError: there is no such format.
    """
    if data_format is not None and data_format not in FORMATS:
        raise UsageError(f"There is no format {data_format!r}.", f"Use {', '.join(FORMATS)}.")
    _OPTIONS.set(ReadOptions(data_format, allow_leak, context_s))


def read_options() -> ReadOptions:
    """Return how data sets are read at present."""
    return _OPTIONS.get()


def read_format(path: Path) -> str:
    """Return the format of a data set: the forced one, or the detected one.

    Raises:
        UsageError: there is no data set, or it is in no format that is known.
    """
    return read_options().format or detect_format(path)


def open_index(path: Path) -> ClipIndex:
    """Return the index of a data set that is not in Something-Something-V2's format.

    A set without splits is split by source, with the seed 0. The last set is kept, so that the
    splits of one file are read in one pass.

    Raises:
        UsageError: the annotations are wrong, or a source is in train and in another split.
    """
    index = _open(path)
    check_leaks(leaks_of(index), str(path), allowed=read_options().allow_leak)
    return index


def open_any_index(path: Path) -> ClipIndex:
    """Return the index of a data set in any format, with its leaks, if it has any.

    Raises:
        UsageError: the annotations are wrong.
    """
    if read_format(path) == SSV2:
        return read_ssv2(path)
    return _open(path)


def leaks_of(index: ClipIndex) -> list[Leak]:
    """Return the sources and videos of an index that are in train and in another split."""
    # A million clips come from some thousands of videos, so they are counted first.
    facts = map(attrgetter("split", "source", "video", "name"), index.clips)
    counts: dict[Split, Counter[Footage]] = defaultdict(Counter)
    for (split, source, video, name), clips in Counter(facts).items():
        counts[split][Footage(source or video, video, name)] += clips

    leaks: list[Leak] = []
    splits: tuple[Split, ...] = ("validation", "test")
    for split in splits:
        leaks += find_leaks(counts["train"], counts[split], split)
    return leaks


def _open(path: Path) -> ClipIndex:
    name = read_format(path)
    if not path.is_file():
        return _read(path, name)
    status = path.stat()
    return _read_file(os.path.realpath(path), name, path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _read_file(_real: str, name: str, path: Path, _modified_ns: int, _size: int) -> ClipIndex:
    return _read(path, name)


def _read(path: Path, name: str) -> ClipIndex:
    # The collector would look through a million clips again and again, for nothing.
    with _no_garbage_collection():
        index = with_seconds(read_annotations(path, name))
        return index if index.splits() else with_split(index)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
