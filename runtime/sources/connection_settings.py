"""Settings of a connection to a network camera, and the FFmpeg options that they become."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

__all__ = ["ConnectionSettings", "ffmpeg_options"]

# fmt: off
# A playlist in the answer could send requests to any host, so that a camera's format must be one of
# these. The address of a playlist ends in .m3u8.
_HTTP_FORMATS = ",".join((
    "mpjpeg", "mjpeg", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu", "ivf", "mov",
    "matroska", "flv", "avi", "ogg", "asf",
))
# fmt: on


class ConnectionSettings(NamedTuple):
    """Settings of a camera that concern its connection."""

    rtsp: Literal["tcp", "udp"] = "tcp"
    """Transport of RTSP's pictures. TCP: no torn pictures."""
    tls_ca: Path | None = None
    """Certificate (PEM) of the camera or of its authority; None: the system's authorities."""
    tls_name: str = ""
    """Name in the camera's certificate if it is not the host of the URL."""
    tls_insecure: bool = False
    """Accept any certificate."""
    hwaccel: str = ""
    """FFmpeg's name of a hardware decoder; empty: decode on the CPU."""


def ffmpeg_options(url: str, settings: ConnectionSettings, analysis_s: float) -> dict[str, str]:
    """Return FFmpeg's options for a URL; every connection has its own."""
    parts = urlsplit(url)
    options = {
        "fflags": "discardcorrupt",
        "analyzeduration": str(int(1e6 * analysis_s)),
        # The frame rate is not needed, and measuring it takes 20 pictures.
        "fpsprobesize": "0",
    }
    if parts.scheme.startswith("rtsp"):
        options["protocol_whitelist"] = "rtsp,rtp,udp,tcp,tls,crypto"
        options["rtsp_transport"] = settings.rtsp
    else:
        options["protocol_whitelist"] = "http,https,tcp,tls,crypto,httpproxy"
        options["max_redirects"] = "2"
        if not parts.path.endswith(".m3u8"):
            options["format_whitelist"] = _HTTP_FORMATS

    options["tls_verify"] = "0" if settings.tls_insecure else "1"
    authorities = settings.tls_ca or _system_authorities()
    if authorities is not None:
        options["ca_file"] = str(authorities)
    if settings.tls_name:
        options["verifyhost"] = settings.tls_name
    return options


def _system_authorities() -> Path | None:
    """Return the file of the system's certificate authorities."""
    paths = ssl.get_default_verify_paths()
    candidates = (paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt")
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return None
