"""Find the video files of a set by the ids of its clips.

Cameras and editors leave other files of the same name beside a video: thumbnails (`.THM`), sound,
subtitles, previews of low resolution (`.LRV`). Known endings of videos therefore come first, files
that are certainly no video never count, and two videos of one id are an error, because the order of
a folder must not decide what a model learns.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

from gasmcast.errors import UsageError
from gasmcast.video.suffixes import VIDEO_SUFFIXES

__all__ = ["composed", "find_videos", "frame_folder"]

_FOLDERS = ("videos", "20bn-something-something-v2", ".")
# fmt: off
_NO_VIDEO = frozenset({
    ".7z", ".aac", ".ass", ".bmp", ".crdownload", ".csv", ".download", ".flac", ".gpx", ".gz",
    ".heic", ".html", ".ini", ".jpeg", ".jpg", ".json", ".log", ".m3u", ".m4a", ".md", ".mp3",
    ".nfo", ".npy", ".npz", ".opus", ".part", ".pkl", ".png", ".pt", ".pth", ".rar", ".safetensors",
    ".srt", ".ssa", ".sub", ".tar", ".thm", ".tif", ".tiff", ".tmp", ".txt", ".vtt", ".wav",
    ".webp", ".xml", ".xmp", ".yaml", ".yml", ".zip",
})
# fmt: on


def find_videos(root: Path, ids: Collection[str]) -> dict[str, str]:
    """Return the path of each clip's video; ids without one are left out.

    Args:
        root: folder of the set; videos are in it, in `videos/` or in
            `20bn-something-something-v2/`.
        ids: names of clips. A video is `<id>.<any extension>`; an id may also be a file name
            (`a17.mp4`), a path below the folder (`sub/a17`), or a number as pandas writes it
            (`38.0`).

    Raises:
        UsageError: an id has two videos; both are named.
    """
    # Spellings in order of preference: most ids have one.
    spellings = {clip: _spellings(clip) for clip in ids}
    files = _list_files(root, {name for names in spellings.values() for name in names})

    videos: dict[str, str] = {}
    for clip, names in spellings.items():
        for name in names:
            if name in files:
                videos[clip] = _choose(clip, files[name])
                break
    return videos


def frame_folder(root: Path, ids: Iterable[str]) -> Path | None:
    """Return the folder of a clip's frames, if the set has such folders in place of videos."""
    first = next(iter(ids))
    for folder in _FOLDERS:
        path = root / folder / first
        if os.path.isdir(path):  # noqa: PTH112 - the method raises for a name that is too long
            return path
    return None


def composed(text: str) -> str:
    """Return text in composed form (Unicode NFC): macOS writes file names decomposed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _spellings(clip: str) -> tuple[str, ...]:
    """Return the names that an id may stand for, the literal one first."""
    name = composed(clip)
    if name.isdecimal():
        return (name,)

    # Paths as Windows writes them, and such that begin with a dot.
    path = str(PurePosixPath(name.replace("\\", "/")))
    names = [name, path]

    stem, suffix = os.path.splitext(path)  # noqa: PTH122 - keeps the folder
    if suffix.lower() in VIDEO_SUFFIXES:
        names.append(stem)

    # A column of numbers with a gap is one of floating-point numbers to pandas.
    if suffix == ".0" and stem.isdecimal():
        names.append(stem)
    return tuple(dict.fromkeys(names))


def _list_files(root: Path, names: Collection[str]) -> dict[str, list[str]]:
    """Return the paths of the files that may be the video of a name, by name.

    Args:
        root: folder of the set.
        names: paths below one of its folders, with or without ending.
    """
    subfolders = {str(PurePosixPath(name).parent) for name in names if "/" in name} | {"."}

    # `videos` may be a link to the other folder: each real folder is listed once.
    files: dict[str, list[str]] = {}
    listed = set()
    for folder in _FOLDERS:
        for subfolder in sorted(subfolders):
            place = root / folder / subfolder
            real = os.path.realpath(place)
            prefix = "" if subfolder == "." else f"{subfolder}/"
            if (real, prefix) in listed or not os.path.isdir(real):  # noqa: PTH112 - see above
                continue
            listed.add((real, prefix))

            for stem, suffix, path in _list_videos(place):
                for name in (f"{prefix}{stem}", f"{prefix}{stem}{suffix}"):
                    if name in names:
                        files.setdefault(name, []).append(path)
    return files


def _list_videos(folder: Path) -> Iterable[tuple[str, str, str]]:
    """Yield stem, ending and path of every file that may be a video, from one listing.

    No file is opened or examined: a call of `stat` per file would be slow on a network disk.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            # 220,847 Path objects would cost a second.
            stem, suffix = os.path.splitext(composed(entry.name))  # noqa: PTH122 - see above
            if suffix and not stem.startswith(".") and suffix.lower() not in _NO_VIDEO:
                yield stem, suffix, entry.path


def _choose(clip: str, paths: Sequence[str]) -> str:
    """Return the video among the files of an id.

    Raises:
        UsageError: two of them are videos.
    """
    # Known endings of videos win; an unknown one may still be a video.
    known = [path for path in paths if path.lower().endswith(VIDEO_SUFFIXES)]
    candidates = known or list(paths)

    # A link to the same file is no second video.
    first = candidates[0]
    for other in candidates[1:]:
        if os.path.realpath(other) != os.path.realpath(first):
            raise UsageError(
                f"Clip {clip} has two videos: {first} and {other}.",
                "Remove one of them, or write the file name with its ending as the id.",
            )
    return first
