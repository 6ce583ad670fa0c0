"""Diagnosis of a network camera that does not open.

FFmpeg reports what the other side answers to it. Where there is no answer, or it cannot be
understood, the camera gets another, plain request without credentials.
"""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.parse import urlsplit

import av

from gasmcast.runtime.sources.capture import TIMEOUT_S
from gasmcast.runtime.sources.connection_settings import ConnectionSettings

__all__ = ["diagnose"]

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_MEANINGS = {
    400: "does not understand the request",
    401: "wants a user name and password",
    403: "forbids it",
    404: "has no such path",
    461: "refuses RTSP over TCP (461): set `rtsp: udp` for this camera in a list of cameras",
    503: "is busy; too many are watching",
}
_NO_SUCH_TRANSPORT = (errno.EPROTONOSUPPORT, 10043)  # the latter on Windows


def diagnose(  # noqa: C901 - one branch for each kind of failure
    url: str,
    settings: ConnectionSettings | None = None,
    error: Exception | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Return why a URL does not open, as one clause without any secret of the URL.

    The cause is the name, the port, the certificate, the path, the login, or the video itself.

    Args:
        url: the URL with its secrets.
        settings: how it was opened; None: the defaults.
        error: what FFmpeg reported.
        timeout_s: limit of the further request.
    """
    parts, settings = urlsplit(url), settings or ConnectionSettings()
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    answer = _answer_to_ffmpeg(parts.scheme, error)
    if answer == 401 and parts.username:
        return f"{place} refuses this user name or password."
    if answer in _MEANINGS:
        return f"{place} {_MEANINGS[answer]}."

    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            status = _request(connection, parts.scheme, place, parts.path or "/", settings)
    except socket.gaierror:
        return f"the name {host} is not known to this network."
    except ConnectionRefusedError:
        return f"nothing answers at {place}."
    except ssl.SSLCertVerificationError as failure:
        return (
            f"the certificate of {place} is not trusted ({failure.verify_message}). Set `tls_ca` "
            "to the certificate of the camera or of its authority, and `tls_name` to the name in "
            "it, in a list of cameras."
        )
    except ssl.SSLError as failure:
        return f"{place} has no valid TLS ({failure.reason or 'handshake failed'})."
    except TimeoutError:
        return f"{place} is silent."
    except OSError as failure:
        return f"{place} cannot be reached ({failure.strerror or type(failure).__name__})."

    if status is None:
        return f"{place} answers, but not in {parts.scheme.upper()}."
    if status < 300 or (status == 401 and parts.username):
        if error is None or isinstance(error, av.ExitError):  # the latter is FFmpeg's timeout
            return f"{place} answers, but no video came in time."
        return f"{place} answers, but not with video (a page or a single picture is none)."
    return f"{place} {_MEANINGS.get(status, f'answers {status}')}."


def _answer_to_ffmpeg(scheme: str, error: Exception | None) -> int | None:
    """Return the status that FFmpeg got, as far as its error tells."""
    kinds = {
        av.HTTPBadRequestError: 400,
        av.HTTPUnauthorizedError: 401,
        av.HTTPForbiddenError: 403,
        av.HTTPNotFoundError: 404,
    }
    for kind, status in kinds.items():
        if isinstance(error, kind):
            return status

    # FFmpeg's answer to status 461 of SETUP, when no other transport is allowed.
    if scheme.startswith("rtsp") and getattr(error, "errno", None) in _NO_SUCH_TRANSPORT:
        return 461
    return None


def _request(
    connection: socket.socket, scheme: str, place: str, path: str, settings: ConnectionSettings
) -> int | None:
    """Send a request without credentials and return its status; None for any other answer."""
    if scheme in ("rtsps", "https"):
        context = ssl.create_default_context(cafile=settings.tls_ca)
        if settings.tls_insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        host = settings.tls_name or place.rsplit(":", 1)[0].strip("[]")
        connection = context.wrap_socket(connection, server_hostname=host)

    if scheme.startswith("rtsp"):
        request = (
            f"DESCRIBE {scheme}://{place}{path} RTSP/1.0\r\n"
            "CSeq: 1\r\nAccept: application/sdp\r\n\r\n"
        )
    else:
        request = f"GET {path} HTTP/1.0\r\nHost: {place}\r\n\r\n"
    connection.sendall(request.encode("ascii", "replace"))

    words = connection.recv(64).split(b" ", 2)
    known = len(words) > 1 and words[0].startswith((b"RTSP/", b"HTTP/")) and words[1].isdigit()
    return int(words[1]) if known else None
