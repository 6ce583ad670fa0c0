"""Find the video files that annotations name, whatever way paths are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from gasmcast.data.video_files import composed
from gasmcast.video.suffixes import VIDEO_SUFFIXES

__all__ = ["FoundVideo", "VideoFinder"]

_FOLDERS = (".", "videos", "clips", "../videos", "../clips", "..")
"""Where videos lie, relative to the folder of the annotations."""


class FoundVideo(NamedTuple):
    """Video file of an annotation."""

    path: str
    """Path of the file; the name as annotated where there is none."""
    exists: bool


class VideoFinder:
    """Finder of the videos of one annotation file; each folder is listed once."""

    def __init__(self, folder: Path) -> None:
        """Make a finder.

        Args:
            folder: folder of the annotation file.
        """
        self.folder = folder
        self._listings: dict[str, dict[str, str]] = {}
        self._found: dict[str, FoundVideo] = {}

    def find(self, *names: str) -> FoundVideo:
        """Return the file of the first name that has one.

        A name may be absolute or relative to the folder of the annotations, its parent, or
        `videos/` or `clips/` in one of them; its ending may be left out. A path of another machine
        is found by its last part, and percent signs may encode characters.
        """
        for name in names:
            found = self._found.get(name)
            if found is None:
                found = self._found[name] = self._search(name)
            if found.exists:
                return found
        return FoundVideo(names[0], exists=False)

    def _search(self, name: str) -> FoundVideo:
        spelling = composed(name.replace("\\", "/"))
        spellings = [spelling]
        if "%" in spelling:
            spellings.append(composed(unquote(spelling)))
        for text in spellings:
            folder, _, base = text.rpartition("/")
            if base and (path := self._in_folders(folder, base, absolute=text.startswith("/"))):
                return FoundVideo(path, exists=True)

        # A path of another machine: only the last part of it can help.
        for text in spellings:
            folder, _, base = text.rpartition("/")
            if folder and base and (path := self._in_folders("", base, absolute=False)):
                return FoundVideo(path, exists=True)
        return FoundVideo(name, exists=False)

    def _in_folders(self, folder: str, base: str, *, absolute: bool) -> str | None:
        roots = [f"{folder or '/'}"] if absolute else []
        if not absolute:
            roots = [os.path.normpath(self.folder / place / folder) for place in _FOLDERS]
        for root in roots:
            path = self._listing(root).get(base)
            if path is not None:
                return path
        return None

    def _listing(self, folder: str) -> dict[str, str]:
        """Return the paths of a folder's files by name, and of its videos also by stem."""
        listing = self._listings.get(folder)
        if listing is not None:
            return listing

        listing = {}
        stems: dict[str, str] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = composed(entry.name)
                    listing[name] = entry.path
                    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - faster than Path
                    if suffix.lower() in VIDEO_SUFFIXES:
                        stems.setdefault(stem, entry.path)
        except OSError:
            pass
        # A file whose name is exactly the one that was looked for comes first.
        self._listings[folder] = {**stems, **listing}
        return self._listings[folder]
