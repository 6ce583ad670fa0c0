"""Something-Something-V2's annotation files as distributed, and any set in that format.

`labels.json` maps class name to index; `train.json` and `validation.json` are lists of `{"id", "label", "template",
"placeholders"}`; `test.json` has only ids. Older packages prefix the names with `something-something-v2-`. A template's
placeholders stand in any of 14 kinds of bracket (`[something]`, `[part]`, `[number of]`, ...): without the square brackets
it is the class name. Videos are `<id>.<any extension>`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from gasmcast.errors import UsageError
from gasmcast.labels import Labels, ssv2_labels

__all__ = ["Sample", "Split", "has_split", "read_frame_list", "read_labels", "read_split", "usable"]

Split = Literal["train", "validation", "test"]

_LABEL_FOLDERS = (".", "labels")
_VIDEO_FOLDERS = ("videos", "20bn-something-something-v2", ".")
_NO_VIDEO = frozenset({".json", ".txt", ".csv", ".md", ".zip", ".yaml", ".html"})
_FRAME_LISTS = {"train": "train_frames.txt", "validation": "val_frames.txt"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip of a set."""

    id: str
    label: int | None  # class index; None in the test split
    video: str | None  # path of the file; None where the set has none
    template: str = ""
    source: str | None = None  # the footage it was cut from, where the set says so
    frames: int = 0  # as a frame list states them; 0: not stated

    @property
    def path(self) -> Path | None:
        """The video file, or None where the set has none."""
        return None if self.video is None else Path(self.video)


def read_labels(root: Path) -> Labels:
    """The class names of the set in `root`; the official 174 where it has only frame lists.

    Raises:
        UsageError: no such folder, no labels, or not in the format.
    """
    file = _find(root, "labels")
    if file is not None:
        return Labels.read(file)
    if any((root / name).is_file() for name in _FRAME_LISTS.values()):
        return ssv2_labels()
    raise UsageError(f"{root} has no labels.json.", "Put it there or in its folder labels/.")


def has_split(root: Path, split: Split) -> bool:
    """Whether a set has a file of this split, whatever is in it.

    Raises:
        UsageError: no such folder.
    """
    return _find(root, split) is not None or (root / _FRAME_LISTS.get(split, "")).is_file()


def read_split(root: Path, split: Split) -> list[Sample]:
    """The clips of one split, in the file's order; one whose video is not there has `path=None`.

    Args:
        root: folder with the annotation files in it or in `labels/`, and the videos in it, in `videos/` or in
            `20bn-something-something-v2/`.
        split: train, validation or test.

    Raises:
        UsageError: no such folder or file, no clips, not in the format, a label that `labels.json` lacks, or not one
            video found.
    """
    file = _find(root, split)
    if file is None:
        frame_list = root / _FRAME_LISTS.get(split, "")
        if frame_list.is_file():
            return read_frame_list(frame_list, read_labels(root))
        raise UsageError(f"{root} has no {split}.json.", "Put it there or in its folder labels/.")
    labels = read_labels(root)
    rows = _rows(file)
    ids = [_id(row, file) for row in rows]
    found = _find_videos(root, set(ids))
    if not found:
        raise UsageError(
            f"None of the {len(ids)} videos of {file} is in {root} or its folders videos/ and 20bn-something-something-v2/."
        )
    if split == "test":
        return [Sample(clip, None, found.get(clip)) for clip in ids]
    index: dict[str, int] = {}
    samples = []
    for clip, row in zip(ids, rows, strict=True):
        template = str(row.get("template", ""))
        label = index.get(template)
        if label is None:
            label = index[template] = _label(labels, template, clip, file)
        source = row.get("source")
        samples.append(
            Sample(clip, label, found.get(clip), template, None if source is None else str(source))
        )
    return samples


def read_frame_list(file: Path, labels: Labels) -> list[Sample]:
    """A frame list, one clip a line: `id frames class`. It names no videos.

    Raises:
        UsageError: no such file, empty, a line of another form, or a class out of range.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read ({error}).") from None
    samples = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if len(fields) != 3 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise UsageError(f"{file}, line {number}: not `id frames class`.")
        label = int(fields[2])
        if label >= len(labels):
            raise UsageError(
                f"{file}, line {number}: class {label} is not within 0..{len(labels) - 1}."
            )
        samples.append(Sample(fields[0], label, None, labels.names[label], None, int(fields[1])))
    if not samples:
        raise UsageError(f"{file} is empty.")
    return samples


def _find(root: Path, name: str) -> Path | None:
    if not root.is_dir():
        raise UsageError(
            f"There is no data set at {root}.",
            "Make one with `gasmcast demo-data DIR`, or give the folder of one.",
        )
    for folder in _LABEL_FOLDERS:
        for prefix in ("", "something-something-v2-"):
            file = root / folder / f"{prefix}{name}.json"
            if file.is_file():
                return file
    return None


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} is not JSON ({error}).", "Take it from the label package again."
        ) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(
            f"{file} is not a list of clips.", 'Each must be {"id": ..., "template": ...}.'
        )
    if not rows:
        raise UsageError(f"{file} lists no clips.")
    return cast("list[dict[str, Any]]", rows)


def _id(row: dict[str, Any], file: Path) -> str:
    clip = row.get("id")
    if not isinstance(clip, str | int) or not str(clip):
        raise UsageError(f"{file}: a clip has no id ({str(row)[:80]}).")
    return str(clip)


def _label(labels: Labels, template: str, clip: str, file: Path) -> int:
    try:
        return labels.index(template)
    except KeyError:
        raise UsageError(
            f"{file}: the template {template!r} of clip {clip} is not in labels.json.",
            "Use the labels of the same set.",
        ) from None


def _find_videos(root: Path, ids: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in _VIDEO_FOLDERS:
        if (root / folder).is_dir():
            for stem, path in _scan(root / folder):
                if stem in ids:
                    found.setdefault(stem, path)
    return found


def _scan(folder: Path) -> Iterable[tuple[str, str]]:
    """Stem and path of every file that may be a video; one listing, no `stat` a file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, extension = os.path.splitext(entry.name)  # noqa: PTH122 - 220,847 Path objects would cost a second
            if extension and not stem.startswith(".") and extension.lower() not in _NO_VIDEO:
                yield stem, entry.path


def usable(samples: list[Sample], data: Path) -> list[Sample]:
    """The samples that have a video.

    Raises:
        UsageError: more than 1 % have none.
    """
    there = [sample for sample in samples if sample.path is not None]
    missing = len(samples) - len(there)
    if missing > 0.01 * len(samples):
        first = next(sample.id for sample in samples if sample.path is None)
        raise UsageError(
            f"{data}: {missing} of {len(samples)} videos are not there, for one {first}.",
            "Complete the download.",
        )
    return there
