"""Open the sources of a command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from gasmcast.errors import SourceError, UsageError
from gasmcast.runtime.frames import Source
from gasmcast.runtime.service.secrets import warn_of_secret
from gasmcast.runtime.sources.camera_spec import CameraSpec
from gasmcast.runtime.sources.connection_settings import ConnectionSettings
from gasmcast.runtime.sources.demo import DemoSource
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.sources.network import NetworkSource
from gasmcast.runtime.sources.parse import (
    FORMS,
    SCHEMES,
    check_url,
    device_file,
    expand,
    name_of,
    scheme_of,
    shown,
)
from gasmcast.runtime.sources.region import RegionSource
from gasmcast.runtime.sources.replay_source import ReplaySource
from gasmcast.runtime.sources.webcam import WebcamSource

__all__ = ["open_sources", "open_spec"]


def open_sources(
    texts: Iterable[str], *, realtime: bool = False, clock: Callable[[], float] = time.monotonic
) -> list[tuple[CameraSpec, Source]]:
    """Return all sources of a command line with their settings; every name is set and unique.

    Args:
        texts: what the user wrote.
        realtime: play files at the rate of their time stamps.
        clock: monotonic seconds.

    Raises:
        UsageError: a scheme that is not allowed, a URL without a host, a list of cameras that
            cannot be read, or no source at all.
        SourceError: no such file, a folder without videos.
    """
    texts = list(texts)
    specs = expand(texts)
    for text in texts:
        warn_of_secret(text)
    if not specs:
        raise UsageError("There is no source.", FORMS)

    # Waiting for an absent webcam helps only if other sources run meanwhile.
    sole = len(specs) == 1
    return [(spec, open_spec(spec, realtime=realtime, sole=sole, clock=clock)) for spec in specs]


def open_spec(
    spec: CameraSpec,
    *,
    realtime: bool = False,
    sole: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Source:
    """Return the source of one spec. Nothing is opened before `frames()`, but a file must exist.

    Args:
        spec: one source; folders and patterns are expanded before (`parse.expand`).
        realtime: play a file at the rate of its time stamps.
        sole: it is the only source of the run.
        clock: monotonic seconds.

    Raises:
        UsageError: a scheme that is not allowed, a URL without a host, `max_fps` of a file.
        SourceError: no such file.
    """
    text, name = spec.source, spec.name or name_of(spec.source)
    scheme, device = scheme_of(text), device_file(text)
    if spec.max_fps is not None and device is None and scheme not in SCHEMES:
        raise UsageError(
            f"{shown(text)}: max_fps is for cameras, and this is none.",
            "Leave it out: every frame counts.",
        )

    source: Source
    if device is not None:
        source = WebcamSource(device, name, max_fps=spec.max_fps, sole=sole, clock=clock)
    elif scheme == "demo":
        source = DemoSource(name, seed=_seed(text), clock=clock)
    elif scheme == "replay":
        source = ReplaySource(Path(text.split(":", 1)[1]), name)
    elif scheme is not None:
        check_url(text)
        settings = ConnectionSettings(
            rtsp=spec.rtsp,
            tls_ca=spec.tls_ca,
            tls_name=spec.tls_name,
            tls_insecure=spec.tls_insecure,
            hwaccel=spec.hwaccel,
        )
        source = NetworkSource(text, name, settings=settings, max_fps=spec.max_fps, clock=clock)
    else:
        source = _open_file(text, name, realtime=realtime, clock=clock)

    return RegionSource(source, spec) if spec.region is not None or spec.mask else source


def _open_file(text: str, name: str, *, realtime: bool, clock: Callable[[], float]) -> FileSource:
    # Checked now, as a wrong path is a mistake to report at the start.
    path = Path(text)
    if not path.exists():
        raise SourceError(
            f"There is no file {shown(text)!r}.",
            "Check the path, or see `gasmcast live --help` for other sources.",
        )
    if not path.is_file():
        raise SourceError(f"{shown(text)!r} is neither a video file nor a folder of them.", FORMS)
    return FileSource(path, name, realtime=realtime, clock=clock)


def _seed(text: str) -> int:
    seed = text.split(":", 1)[1]
    if seed and not seed.isdecimal():
        raise UsageError(
            f"{text!r} is not a built-in scene.", "Write demo: or demo:7; the number is its seed."
        )
    return int(seed or 0)
