"""Index of a data set: one row per labeled clip, whatever format the annotations have.

A reader of `gasmcast.data.formats` turns a path into a `ClipIndex`. A clip is a whole video, or an
annotated span of one between two times. Times count in seconds from the first frame of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from gasmcast.errors import UsageError

__all__ = ["Clip", "ClipIndex", "FrameRange", "Place", "Split", "named_split", "split_name"]

Split = Literal["train", "validation", "test"]

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validate": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


class FrameRange(NamedTuple):
    """Annotated span in frames; `frame_ranges` turns it into seconds."""

    first: int
    """First frame of the span, counted from 0."""
    stop: int
    """Frame after the last one."""
    fps: float | None = None
    """Frames per second that the annotation counts in; None where it states none."""
    frames: int | None = None
    """Number of frames of the whole video, by the annotation; None where it states none."""
    default_fps: float | None = None
    """Frames per second that the annotation tool counts in where `fps` is None and its user chose
    no other rate; None where it counts the frames of the file."""


class Clip(NamedTuple):
    """One labeled clip of a data set."""

    video: str
    """Path of the video file if it exists, otherwise its name as annotated."""
    label: str | None
    """Class name; None in a test split."""
    start_s: float | None = None
    """Start of the span in seconds after the first frame; None: start of the file."""
    end_s: float | None = None
    """End of the span in seconds after the first frame; None: end of the file."""
    split: Split | None = None
    """Split that the annotations state; None where they state none."""
    source: str | None = None
    """Recording that the clip was cut from, where it is stated; otherwise it is the video."""
    row: int = 0
    """Line or entry of the annotation, counted from 1; 0 where it has none."""
    exists: bool = True
    """Whether the video file exists."""
    file: str = ""
    """Annotation file, where a set has several; empty: the path of the index."""
    name: str | None = None
    """Name of the clip, where the format has one."""

    @property
    def origin(self) -> str:
        """Source of the clip: the stated one, or its video."""
        return self.source or self.video

    @property
    def is_segment(self) -> bool:
        """Return whether the clip is a part of its video."""
        return self.start_s is not None or self.end_s is not None


class Place(NamedTuple):
    """Position of a clip in its annotations, for messages."""

    file: str
    unit: str
    """What rows are counted in: "line", "entry" or "span"."""
    row: int

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.row}" if self.row else self.file


@dataclass(frozen=True)
class ClipIndex:
    """All clips of a data set, in the order of its annotations."""

    path: Path
    """Folder or annotation file."""
    format: str
    """Name of the format, as `--format` takes it."""
    clips: Sequence[Clip]
    unit: str = "line"
    """What `Clip.row` counts: "line", "entry" or "span"."""
    names: tuple[str, ...] = ()
    """Class names in order; empty: those of the clips, sorted."""
    frame_ranges: dict[int, FrameRange] = field(default_factory=dict)
    """Spans in frames by position of the clip, until they are turned into seconds."""
    is_split: bool = False
    """Whether the split was made by gasmcast, because the annotations state none."""
    idle: tuple[Clip, ...] = ()
    """Whole videos that the annotations list without any action; no clips of the set."""

    def __len__(self) -> int:
        return len(self.clips)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in order."""
        if self.names:
            return self.names
        return tuple(sorted({clip.label for clip in self.clips if clip.label is not None}))

    def place(self, clip: Clip) -> str:
        """Return where a clip stands in the annotations, such as "clips.csv, line 7"."""
        return str(Place(clip.file or str(self.path), self.unit, clip.row))

    def of_split(self, split: Split) -> list[Clip]:
        """Return the clips of one split."""
        return [clip for clip in self.clips if clip.split == split]

    def splits(self) -> tuple[Split, ...]:
        """Return the splits that have clips, in the order train, validation, test."""
        stated = {clip.split for clip in self.clips}
        order: tuple[Split, ...] = ("train", "validation", "test")
        return tuple(split for split in order if split in stated)

    def __str__(self) -> str:
        sources = len({clip.origin for clip in self.clips})
        return (
            f"{self.path}: {len(self.clips)} clips of {len(self.classes)} classes from {sources}"
            f" sources, format {self.format}"
        )


def split_name(text: str, place: str) -> Split | None:
    """Return the split that a text names, None for an empty text.

    Args:
        text: a name as annotations use it, such as `val` or `Training`.
        place: position in the annotations, for the message.

    Raises:
        UsageError: the text names no split.
    """
    key = text.strip().lower()
    if not key:
        return None
    try:
        return _SPLITS[key]
    except KeyError:
        raise UsageError(
            f"{place}: {text[:40]!r} is no split.", "Use train, validation (or val) or test."
        ) from None


def named_split(text: str) -> Split | None:
    """Return the split that a file or folder is named after, or None."""
    return _SPLITS.get(text.strip().lower())
