"""Parse what the user wrote into one `CameraSpec` per source.

User text reaches FFmpeg only with one of four schemes, or as the absolute path of a file.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from gasmcast.errors import SourceError, UsageError
from gasmcast.runtime.service.secrets import redact
from gasmcast.runtime.sources.camera_spec import CameraSpec, read_cameras

__all__ = ["FORMS", "SCHEMES", "check_url", "device_file", "expand", "name_of", "scheme_of"]

# fmt: off
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
# fmt: on
SCHEMES = ("rtsp", "rtsps", "http", "https")
FORMS = (
    "Give 0, /dev/video0, rtsp://..., http://..., a file, a folder, 'clips/*.mp4', demo: or "
    "@cameras.yaml."
)
_DEVICE = re.compile(r"/dev/video\d{1,3}")
# One letter before a colon is a drive, not a scheme.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)[:,]")


def expand(texts: Iterable[str]) -> list[CameraSpec]:
    """Expand lists of cameras, folders and patterns into one spec per source, with unique names.

    Raises:
        UsageError: a scheme that is not allowed, a list of cameras that cannot be read.
        SourceError: a folder without videos, a pattern that matches nothing.
    """
    specs: list[CameraSpec] = []
    for text in texts:
        if text.startswith("@"):
            entries = read_cameras(Path(text[1:]))
        else:
            entries = [CameraSpec.model_construct(source=text.strip())]
        # A folder or pattern becomes several sources with the same settings.
        for entry in entries:
            sources = _files_of(entry.source)
            specs.extend(entry.model_copy(update={"source": source}) for source in sources)

    # Names become topics, files and metrics, so two sources must not share one.
    taken: set[str] = set()
    named = []
    for spec in specs:
        base = name = spec.name or name_of(spec.source)
        number = 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        named.append(spec.model_copy(update={"name": name}))
    return named


def device_file(text: str) -> str | None:
    """Return the device file of a webcam's index or path; None for any other text."""
    if text.isdecimal():
        return f"/dev/video{text}"
    return text if _DEVICE.fullmatch(text) else None


def scheme_of(text: str) -> str | None:
    """Return the allowed scheme of a text; None for a path.

    Raises:
        UsageError: empty, or any other scheme (`concat:`, `subfile,,`, `pipe:`, `data:`, `exec:`
            and whatever FFmpeg adds next).
    """
    if not text or any(ord(letter) < 32 for letter in text):
        raise UsageError("A source is empty or has control characters.", FORMS)

    match = _SCHEME.match(text)
    if match is None or (match.group(0).endswith(",") and ":" not in text):
        return None

    scheme = match.group(1).lower()
    if scheme in ("demo", "replay") or (scheme in SCHEMES and "://" in text):
        return scheme

    raise UsageError(
        f"{redact(text)}: sources of the kind {scheme!r} are not allowed.",
        f"{FORMS} A file of that name: put ./ before it.",
    )


def name_of(text: str) -> str:
    """Derive a name from a source: no secret, only letters valid in topics, files and metrics.

    Raises:
        UsageError: a scheme that is not allowed, or a URL without a host.
    """
    scheme = scheme_of(text)
    if text.isdecimal():
        return f"camera{text}"
    if scheme == "demo":
        return f"demo-{text[5:]}" if text[5:] else "demo"

    if scheme == "replay":
        name = Path(text.split(":", 1)[1]).stem
    elif scheme is not None:
        check_url(text)
        parts = urlsplit(text)
        name = f"{parts.hostname}{parts.path}"
    else:
        name = Path(text).stem

    return re.sub(r"[^A-Za-z0-9_.-]+", "-", redact(name)).strip("-.")[:64] or "camera"


def check_url(text: str) -> None:
    """Check that a text is a URL with a host.

    Raises:
        UsageError: it is not.
    """
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0) and " " not in text
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(
            f"{redact(text)} is not a URL.",
            "Write rtsp://host:554/path; a password with odd letters goes in as ${NAME}.",
        )


def _files_of(text: str) -> list[str]:
    """Return the files of a folder or pattern; the text itself if it is neither.

    Raises:
        SourceError: a folder without videos, a pattern that matches nothing.
    """
    if scheme_of(text) is not None or text.isdecimal():
        return [text]

    path = Path(text)
    if path.is_dir():
        files = [
            str(file)
            for file in path.iterdir()
            if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()
        ]
        if not files:
            raise SourceError(
                f"The folder {text} has no videos.",
                f"It must hold files that end in {', '.join(VIDEO_SUFFIXES)}.",
            )
        return sorted(files)

    # A file whose name looks like a pattern is that file.
    if not path.exists() and glob.has_magic(text):
        # `Path.glob` refuses absolute patterns.
        matches = glob.glob(text, recursive=True)  # noqa: PTH207 - see above
        files = [match for match in matches if Path(match).is_file()]
        if not files:
            raise SourceError(
                f"No file fits {text}.",
                "Check the pattern; quote it, so that the shell does not expand it.",
            )
        return sorted(files)
    return [text]
