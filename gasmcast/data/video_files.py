"""Find the video files of a set by the ids of its clips."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

__all__ = ["find_videos"]

_FOLDERS = ("videos", "20bn-something-something-v2", ".")
_NO_VIDEO = frozenset({".json", ".txt", ".csv", ".md", ".zip", ".yaml", ".html"})


def find_videos(root: Path, ids: Collection[str]) -> dict[str, str]:
    """Return the path of each clip's video; ids without one are left out.

    Args:
        root: folder of the set; videos are in it, in `videos/` or in
            `20bn-something-something-v2/`.
        ids: names of clips. A video is `<id>.<any extension>`.
    """
    videos: dict[str, str] = {}
    for folder in _FOLDERS:
        if (root / folder).is_dir():
            for stem, path in _list_videos(root / folder):
                if stem in ids:
                    videos.setdefault(stem, path)
    return videos


def _list_videos(folder: Path) -> Iterable[tuple[str, str]]:
    """Yield stem and path of every file that may be a video, from one listing of the folder.

    No file is opened or examined: a call of `stat` per file would be slow on a network disk.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            # 220,847 Path objects would cost a second.
            stem, extension = os.path.splitext(entry.name)  # noqa: PTH122 - see above
            if extension and not stem.startswith(".") and extension.lower() not in _NO_VIDEO:
                yield stem, entry.path
