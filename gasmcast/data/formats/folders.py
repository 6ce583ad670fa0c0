"""Read a folder per class, with or without folders `train`, `val` and `test` around them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gasmcast.data.clip_index import Clip, ClipIndex, Split, named_split
from gasmcast.data.video_files import composed
from gasmcast.errors import UsageError
from gasmcast.labels import class_name
from gasmcast.video.suffixes import VIDEO_SUFFIXES

__all__ = ["read_folders"]


def read_folders(path: Path) -> ClipIndex:
    """Return the clips of a folder per class: each video below `path/CLASS` is one.

    Folders inside of a class folder are sources: `path/CLASS/monday/1.mp4` is a clip of the source
    `monday`, like all clips in a folder of that name in other classes.

    Args:
        path: folder of class folders, or of `train/`, `val/` (`valid/`, `validation/`) and `test/`
            with class folders in each.

    Raises:
        UsageError: no class folders, a class folder without videos, or a split without classes.
    """
    folders = _folders(path)
    splits = {folder: named_split(folder) for folder in folders}
    if "train" not in splits.values():
        clips = list(_read_classes(path, folders, None))
        return ClipIndex(path, "folders", clips, unit="file")

    strangers = [folder for folder, split in splits.items() if split is None]
    if strangers:
        raise UsageError(
            f"{path} has folders of splits, but also {strangers[0]}.",
            "Put every class folder into train/, val/ or test/.",
        )
    clips = []
    for folder, split in splits.items():
        clips += _read_classes(path / folder, _folders(path / folder), split)
    return ClipIndex(path, "folders", clips, unit="file")


def _folders(path: Path) -> list[str]:
    """Return the names of the folders in a folder, without hidden ones."""
    with os.scandir(path) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _read_classes(path: Path, classes: list[str], split: Split | None) -> Iterator[Clip]:
    if not classes:
        raise UsageError(
            f"{path} has no folder per class in it.", "Make one folder for each class."
        )
    for name in classes:
        _check_no_set(path, name)
        videos = sorted(_videos(path / name))
        if not videos:
            raise UsageError(
                f"The class folder {path / name} has no videos.",
                "Put clips of the class into it, or remove the folder.",
            )
        for video in videos:
            # A folder inside of the class folder holds the clips of one recording.
            recording = os.path.relpath(os.path.dirname(video), path / name)  # noqa: PTH120 - speed
            source = None if recording == "." else recording
            yield Clip(video, class_name(composed(name)).strip(), split=split, source=source)


def _check_no_set(path: Path, name: str) -> None:
    """Refuse the folder around a set of Something-Something-V2's format: a likely mistake."""
    if any((path / name / place / "labels.json").is_file() for place in (".", "labels")):
        raise UsageError(
            f"{path} has no labels.json, but its folder {name} has: that is a data set.",
            f"Use --data {path / name}.",
        )


def _videos(folder: Path) -> Iterator[str]:
    """Yield the paths of all video files below a folder, without hidden ones."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            is_video = os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122 - speed
            if is_video and not name.startswith("."):
                yield os.path.join(place, name)  # noqa: PTH118 - speed
