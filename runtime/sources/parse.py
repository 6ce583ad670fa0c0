"""From what the user wrote to sources. User text reaches FFmpeg only as one of four schemes, or as the absolute path of a file."""

from __future__ import annotations

import glob
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from gasmcast.errors import SourceError, UsageError
from gasmcast.runtime.frames import Source
from gasmcast.runtime.service.secrets import redact, warn_of_secret
from gasmcast.runtime.sources.camera_spec import CameraSpec, read_cameras
from gasmcast.runtime.sources.demo import DemoSource
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.sources.network import StreamSource
from gasmcast.runtime.sources.region import RegionSource
from gasmcast.runtime.sources.webcam import WebcamSource

__all__ = ["VIDEO_ENDINGS", "expand", "open_source", "open_sources", "open_spec"]

VIDEO_ENDINGS = (
    *(
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".gif",
        ".h264",
        ".h265",
        ".hevc",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
    ),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
_SCHEMES = ("rtsp", "rtsps", "http", "https")
_DEVICE = re.compile(r"/dev/video\d{1,3}")
_SCHEME = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]+)[:,]"
)  # one letter before a colon is a drive, not a scheme
_FORMS = "Give 0, /dev/video0, rtsp://..., http://..., a file, a folder, 'clips/*.mp4', demo: or @cameras.yaml."


def open_source(
    text: str,
    *,
    name: str = "",
    realtime: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Source:
    """One source; nothing is opened before its `frames` are asked for, but a file must be there.

    Raises:
        UsageError: a scheme that is not allowed, a URL without a host, a text that stands for several sources.
        SourceError: no such file.
    """
    specs = expand([text])
    if len(specs) != 1:
        raise UsageError(
            f"{text} stands for {len(specs)} sources where one is wanted.", "Name one of them."
        )
    return open_spec(
        specs[0].model_copy(update={"name": name or specs[0].name}), realtime=realtime, clock=clock
    )


def open_sources(
    texts: Iterable[str], *, realtime: bool = False, clock: Callable[[], float] = time.monotonic
) -> list[tuple[CameraSpec, Source]]:
    """All sources of a command line, with what was said of each; every name is there and none is there twice.

    Raises:
        UsageError, SourceError: as `open_source`; a list of cameras that cannot be read; a folder without videos.
    """
    texts = list(texts)
    specs = expand(texts)
    for text in texts:
        warn_of_secret(text)
    if not specs:
        raise UsageError("There is no source.", _FORMS)
    return [
        (spec, open_spec(spec, realtime=realtime, sole=len(specs) == 1, clock=clock))
        for spec in specs
    ]


def expand(texts: Iterable[str]) -> list[CameraSpec]:
    """Lists of cameras, folders and patterns become one spec a source; names are filled in and made unique."""
    found: list[CameraSpec] = []
    for text in texts:
        specs = (
            read_cameras(Path(text[1:]))
            if text.startswith("@")
            else [CameraSpec.model_construct(source=text.strip())]
        )
        for spec in specs:
            found.extend(spec.model_copy(update={"source": one}) for one in _spread(spec.source))
    taken: set[str] = set()
    named = []
    for spec in found:
        base = name = spec.name or _name(spec.source)
        number = 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        named.append(spec.model_copy(update={"name": name}))
    return named


def open_spec(
    spec: CameraSpec,
    *,
    realtime: bool = False,
    sole: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Source:
    """The source of one spec that `expand` gave; `sole`: it is the only one of the run.

    Raises:
        UsageError, SourceError: as `open_source`.
    """
    text, name = spec.source, spec.name or _name(spec.source)
    scheme = _scheme(text)
    source: Source
    camera = text.isdecimal() or _DEVICE.fullmatch(text) or scheme in _SCHEMES
    if spec.max_fps is not None and not camera:
        raise UsageError(
            f"{redact(text)}: max_fps is for cameras, and this is none.",
            "Leave it out: every frame counts.",
        )
    if text.isdecimal() or _DEVICE.fullmatch(text):
        device = f"/dev/video{text}" if text.isdecimal() else text
        source = WebcamSource(device, name, max_fps=spec.max_fps, sole=sole, clock=clock)
    elif scheme == "demo":
        source = DemoSource(name, seed=_seed(text), clock=clock)
    elif scheme == "replay":
        # Only now: replaying stands on top of the runtime's recording.
        from gasmcast.runtime.sources.replay_source import ReplaySource  # noqa: PLC0415

        source = ReplaySource(Path(text.split(":", 1)[1]), name)
    elif scheme is not None:
        _check_url(text)
        source = StreamSource(text, name, max_fps=spec.max_fps, clock=clock)
    else:
        path = Path(text)
        if not path.exists():
            raise SourceError(
                f"There is no file {text!r}.",
                "Check the path, or see `gasmcast live --help` for other sources.",
            )
        if not path.is_file():
            raise SourceError(f"{text!r} is neither a video file nor a folder of them.", _FORMS)
        source = FileSource(path, name, realtime=realtime, clock=clock)
    return RegionSource(source, spec) if spec.region is not None or spec.mask else source


def _scheme(text: str) -> str | None:
    """The allowed scheme of a text, None for a path.

    Raises:
        UsageError: empty, or any other scheme (`concat:`, `subfile,,`, `pipe:`, `data:`, `exec:` and what FFmpeg may learn next).
    """
    if not text or any(ord(letter) < 32 for letter in text):
        raise UsageError("A source is empty or has control characters.", _FORMS)
    match = _SCHEME.match(text)
    if match is None or (match.group(0).endswith(",") and ":" not in text):
        return None
    scheme = match.group(1).lower()
    if scheme in ("demo", "replay") or (scheme in _SCHEMES and "://" in text):
        return scheme
    raise UsageError(
        f"{redact(text)}: sources of the kind {scheme!r} are not allowed.",
        f"{_FORMS} A file of that name: put ./ before it.",
    )


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0) and " " not in text
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            f"{redact(text)} is not a URL.",
            "Write rtsp://host:554/path; a password with odd letters goes in as ${NAME}.",
        )


def _spread(text: str) -> list[str]:
    """The files of a folder or pattern; the text itself when it is neither.

    Raises:
        SourceError: a folder without videos, a pattern that nothing fits.
    """
    if _scheme(text) is not None or text.isdecimal():
        return [text]
    path = Path(text)
    if path.is_dir():
        files = sorted(
            str(file)
            for file in path.iterdir()
            if file.suffix.lower() in VIDEO_ENDINGS and file.is_file()
        )
        if not files:
            raise SourceError(
                f"The folder {text} has no videos.",
                f"It must hold files that end in {', '.join(VIDEO_ENDINGS)}.",
            )
        return files
    if not path.exists() and glob.has_magic(text):
        # Path.glob takes no absolute pattern.
        files = sorted(found for found in glob.glob(text, recursive=True) if Path(found).is_file())  # noqa: PTH207
        if not files:
            raise SourceError(
                f"No file fits {text}.",
                "Check the pattern; quote it, so that the shell leaves it alone.",
            )
        return files
    return [text]


def _name(text: str) -> str:
    """From the source, without any secret: letters that topics, file names and metrics all take."""
    scheme = _scheme(text)
    if text.isdecimal():
        return f"camera{text}"
    if scheme == "demo":
        return "demo" + (f"-{text[5:]}" if text[5:] else "")
    if scheme == "replay":
        raw = Path(text.split(":", 1)[1]).stem
    elif scheme is not None:
        _check_url(text)
        parts = urlsplit(text)
        raw = f"{parts.hostname}{parts.path}"
    else:
        raw = Path(text).stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", redact(raw)).strip("-.")[:64] or "camera"


def _seed(text: str) -> int:
    seed = text.split(":", 1)[1]
    if seed and not seed.isdecimal():
        raise UsageError(
            f"{text!r} is not a built-in scene.", "Write demo: or demo:7; the number is its seed."
        )
    return int(seed or 0)
