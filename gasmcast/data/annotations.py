"""Read the annotation files of Something-Something-V2, and of any set in that format.

`labels.json` maps class name to index. `train.json` and `validation.json` are lists of `{"id",
"label", "template", "placeholders"}`; `test.json` has only ids. Older packages prefix the file
names with `something-something-v2-`. The placeholders of a template stand in any of 14 kinds of
bracket (`[something]`, `[part]`, `[number of]`, ...): without the square brackets it is the class
name. Videos are `<id>.<any extension>`. The format is that of Goyal et al. 2017 (The "something
something" video database).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from gasmcast.data.failures import check_failures
from gasmcast.data.video_files import find_videos
from gasmcast.errors import UsageError
from gasmcast.labels import Labels, ssv2_labels

__all__ = ["Sample", "Split", "has_split", "read_labels", "read_split", "usable"]

Split = Literal["train", "validation", "test"]

_LABEL_FOLDERS = (".", "labels")
_FRAME_LISTS = {"train": "train_frames.txt", "validation": "val_frames.txt"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip of a set."""

    id: str
    """Name of the clip."""
    label: int | None
    """Class index; None in the test split."""
    video: str | None
    """Path of the video file; None when the set has none."""
    template: str = ""
    """Class name, with or without the brackets of placeholders."""
    source: str | None = None
    """Footage that the clip was cut from, when the set states it."""
    frames: int = 0
    """Number of frames according to a frame list; 0 when it is not stated."""

    @property
    def path(self) -> Path | None:
        """Video file, or None when the set has none."""
        return None if self.video is None else Path(self.video)


def read_labels(root: Path) -> Labels:
    """Read the class names of the set in `root`; the official 174 if it has only frame lists.

    Raises:
        UsageError: there is no such folder, it has no labels, or they are not in the format.
    """
    file = _find_annotations(root, "labels")
    if file is not None:
        return Labels.read(file)
    if any((root / name).is_file() for name in _FRAME_LISTS.values()):
        return ssv2_labels()
    raise UsageError(f"{root} has no labels.json.", "Put it there or in its folder labels/.")


def has_split(root: Path, split: Split) -> bool:
    """Return whether a set has a file of this split, without reading it.

    Raises:
        UsageError: there is no such folder.
    """
    if _find_annotations(root, split) is not None:
        return True
    return (root / _FRAME_LISTS.get(split, "")).is_file()


def read_split(root: Path, split: Split) -> list[Sample]:
    """Read the clips of one split, in the file's order; `path` is None if a video is missing.

    Args:
        root: folder with the annotation files in it or in `labels/`, and the videos in it, in
            `videos/` or in `20bn-something-something-v2/`.
        split: train, validation or test.

    Raises:
        UsageError: there is no such folder or file, it lists no clips, is not in the format, has a
            label that `labels.json` lacks, or not one of its videos exists.
    """
    file = _find_annotations(root, split)
    if file is None:
        frame_list = root / _FRAME_LISTS.get(split, "")
        if frame_list.is_file():
            return read_frame_list(frame_list, read_labels(root))
        raise UsageError(f"{root} has no {split}.json.", "Put it there or in its folder labels/.")

    labels = read_labels(root)
    rows = _read_rows(file)
    ids = [_clip_id(row, file) for row in rows]
    videos = find_videos(root, set(ids))
    if not videos:
        raise UsageError(
            f"None of the {len(ids)} videos of {file} is in {root} or its folders videos/ and"
            " 20bn-something-something-v2/."
        )
    if split == "test":
        return [Sample(clip, None, videos.get(clip)) for clip in ids]

    # Many clips share a template, and looking one up normalizes its brackets.
    label_of: dict[str, int] = {}
    samples = []
    for clip, row in zip(ids, rows, strict=True):
        template = str(row.get("template", ""))
        if template not in label_of:
            label_of[template] = _find_label(labels, template, clip, file)

        source = row.get("source")
        sample = Sample(
            id=clip,
            label=label_of[template],
            video=videos.get(clip),
            template=template,
            source=None if source is None else str(source),
        )
        samples.append(sample)
    return samples


def read_frame_list(file: Path, labels: Labels) -> list[Sample]:
    """Read a frame list, one clip per line: `id frames class`. It names no videos.

    Raises:
        UsageError: there is no such file, it is empty, a line has another form, or a class is out
            of range.
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
        name = labels.names[label]
        samples.append(Sample(fields[0], label, None, template=name, frames=int(fields[1])))

    if not samples:
        raise UsageError(f"{file} is empty.")
    return samples


def usable(samples: list[Sample], data: Path) -> list[Sample]:
    """Return the samples that have a video.

    Args:
        samples: the clips of a split.
        data: folder of the set, named in the error.

    Raises:
        UsageError: more than 1 % have none.
    """
    missing = [sample.id for sample in samples if sample.path is None]
    check_failures(
        missing,
        len(samples),
        lambda _: UsageError(
            f"{data}: {len(missing)} of {len(samples)} videos are not there, for one {missing[0]}.",
            "Complete the download.",
        ),
    )
    return [sample for sample in samples if sample.path is not None]


def _find_annotations(root: Path, name: str) -> Path | None:
    """Return the annotation file of a name without ending, None if the set has none."""
    if not root.is_dir():
        raise UsageError(
            f"There is no data set at {root}.",
            "Make one with `gasmcast demo-data DIR`, or give the folder of one.",
        )
    # Packages differ in the folder of the labels and in the prefix of the names.
    for folder in _LABEL_FOLDERS:
        for prefix in ("", "something-something-v2-"):
            file = root / folder / f"{prefix}{name}.json"
            if file.is_file():
                return file
    return None


def _read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the entries of an annotation file, at least one."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} is not JSON ({error}).", "Take it from the label package again."
        ) from None

    # A wrong file is more likely than a broken one: say what was expected.
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(
            f"{file} is not a list of clips.", 'Each must be {"id": ..., "template": ...}.'
        )
    if not rows:
        raise UsageError(f"{file} lists no clips.")
    return cast("list[dict[str, Any]]", rows)


def _clip_id(row: dict[str, Any], file: Path) -> str:
    """Return the id of an entry as text; some packages write it as a number."""
    clip = row.get("id")
    if not isinstance(clip, str | int) or not str(clip):
        raise UsageError(f"{file}: a clip has no id ({str(row)[:80]}).")
    return str(clip)


def _find_label(labels: Labels, template: str, clip: str, file: Path) -> int:
    """Return the class of a template."""
    try:
        return labels.index(template)
    except KeyError:
        raise UsageError(
            f"{file}: the template {template!r} of clip {clip} is not in labels.json.",
            "Use the labels of the same set.",
        ) from None
