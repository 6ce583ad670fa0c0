"""Read the annotation files of Something-Something-V2, and of any set in that format.

`labels.json` maps class name to index. `train.json` and `validation.json` are lists of `{"id",
"label", "template", "placeholders"}`; `test.json` has only ids. Older packages prefix the file
names with `something-something-v2-`. The placeholders of a template stand in any of 14 kinds of
bracket (`[something]`, `[part]`, `[number of]`, ...): without the square brackets it is the class
name. Videos are `<id>.<any extension>`. Files may begin with a byte order mark, and ids and names
are compared in composed form (Unicode NFC). The format is that of Goyal et al. 2017 (The "something
something" video database).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gasmcast.data.clip_index import Clip, ClipIndex, Split
from gasmcast.data.entries import check_ids, clip_id, find_label, read_rows, template_of
from gasmcast.data.sample import Sample
from gasmcast.data.video_files import find_videos, frame_folder
from gasmcast.errors import UsageError
from gasmcast.labels import Labels, ssv2_labels

__all__ = ["has_split", "read_frame_list", "read_labels", "read_split", "read_ssv2"]

_LABEL_FOLDERS = (".", "labels")
_FRAME_LISTS = {"train": "train_frames.txt", "validation": "val_frames.txt"}


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
        UsageError: there is no such folder or file, it lists no clips or a clip twice, is not in
            the format, has a label that `labels.json` lacks, a clip has two videos, or not one of
            the videos exists.
    """
    file = _find_annotations(root, split)
    if file is None:
        frame_list = root / _FRAME_LISTS.get(split, "")
        if frame_list.is_file():
            return read_frame_list(frame_list, read_labels(root))
        raise UsageError(f"{root} has no {split}.json.", "Put it there or in its folder labels/.")

    labels = read_labels(root)
    rows = read_rows(file)
    ids = [clip_id(row, file) for row in rows]
    check_ids(ids, rows, file)
    videos = find_videos(root, set(ids))
    if not videos:
        raise _no_videos(root, ids, file)
    _check_videos(videos, file)
    if split == "test":
        return [Sample(clip, None, videos.get(clip)) for clip in ids]

    # Many clips share a template, and looking one up normalizes its brackets.
    label_of: dict[str, int] = {}
    samples = []
    for clip, row in zip(ids, rows, strict=True):
        template = template_of(row, clip, labels, file)
        if template not in label_of:
            label_of[template] = find_label(labels, template, clip, file)

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
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} cannot be read ({error}).", "Check its path, and that it is text in UTF-8."
        ) from None

    samples = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        # Python refuses to convert numbers of thousands of digits.
        is_row = len(fields) == 3 and all(f.isdecimal() and len(f) < 10 for f in fields[1:])
        if not is_row:
            raise UsageError(
                f"{file}, line {number}: not `id frames class`.",
                "Write the name of the clip, its number of frames and its class index.",
            )

        label = int(fields[2])
        if label >= len(labels):
            raise UsageError(
                f"{file}, line {number}: class {label} is not within 0..{len(labels) - 1}.",
                "Use the labels of the same set.",
            )
        name = labels.names[label]
        samples.append(Sample(fields[0], label, None, template=name, frames=int(fields[1])))

    if not samples:
        raise UsageError(f"{file} is empty.", "Write one clip per line: `id frames class`.")
    return samples


def read_ssv2(path: Path) -> ClipIndex:
    """Return all splits of a set as one index.

    Raises:
        UsageError: as `read_split`.
    """
    labels = read_labels(path)
    clips: list[Clip] = []

    # The split test has no labels, so it is no part of an index.
    splits: tuple[Split, ...] = ("train", "validation")
    for split in splits:
        if not has_split(path, split):
            continue

        for row, sample in enumerate(read_split(path, split), 1):
            clip = Clip(
                video=sample.video or sample.id,
                label=None if sample.label is None else labels.names[sample.label],
                split=split,
                source=sample.source,
                row=row,
                exists=sample.video is not None,
                file=str(path / f"{split}.json"),
                name=sample.id,
            )
            clips.append(clip)
    return ClipIndex(path, "ssv2", clips, unit="entry", names=labels.names)


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


def _check_videos(videos: Mapping[str, str], file: Path) -> None:
    """Check that no two ids name the same video, such as `a17` and `a17.mp4`.

    Raises:
        UsageError: two do.
    """
    owner: dict[str, str] = {}
    for clip, video in videos.items():
        other = owner.setdefault(video, clip)
        if other != clip:
            raise UsageError(
                f"{file} lists {video} twice, as clip {min(clip, other)} and as clip"
                f" {max(clip, other)}.",
                "Remove one of them.",
            )


def _no_videos(root: Path, ids: Sequence[str], file: Path) -> UsageError:
    """Return the error of a set without a single video."""
    folder = frame_folder(root, ids)
    if folder is not None:
        return UsageError(
            f"{folder} is a folder; clips are video files, not folders of pictures.",
            "Make a video of each: ffmpeg -framerate 30 -i FOLDER/%05d.jpg FOLDER.mp4",
        )
    return UsageError(
        f"None of the {len(ids)} videos of {file} is in {root} or its folders videos/ and"
        f" 20bn-something-something-v2/; the first would be {ids[0]}.mp4 or another ending."
    )
