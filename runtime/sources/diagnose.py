"""Diagnosis of a network camera that does not open.

FFmpeg reports through OpenCV only that it failed, so the camera gets another, plain request.
"""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from gasmcast.runtime.sources.capture import TIMEOUT_S

__all__ = ["diagnose"]

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_MEANINGS = {
    400: "does not understand the request",
    401: "wants another user name or password",
    403: "forbids it",
    404: "has no such path",
    503: "is busy; too many are watching",
}


def diagnose(url: str, timeout_s: float = TIMEOUT_S) -> str:
    """Return why a URL does not open, as one clause without any secret of the URL.

    The cause is the name, the port, the certificate, the path, or the video itself.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            status = _request(connection, parts.scheme, place, parts.path or "/")
    except socket.gaierror:
        return f"the name {host} is not known to this network."
    except ConnectionRefusedError:
        return f"nothing answers at {place}."
    except ssl.SSLError as error:
        return f"{place} has no valid TLS ({error.reason or 'handshake failed'})."
    except TimeoutError:
        return f"{place} is silent."
    except OSError as error:
        return f"{place} cannot be reached ({error.strerror or type(error).__name__})."

    if status is None:
        return f"{place} answers, but not in {parts.scheme.upper()}."
    # The request has no password, so a 401 cannot tell a wrong one from a slow camera.
    if status == 401 and parts.username:
        return f"{place} answers, but this user name and password gave no video in time."
    if status < 300:
        return f"{place} answers, but no video came in time."
    return f"{place} {_MEANINGS.get(status, f'answers {status}')}."


def _request(connection: socket.socket, scheme: str, place: str, path: str) -> int | None:
    """Send a request without credentials and return its status; None for any other answer."""
    if scheme in ("rtsps", "https"):
        # FFmpeg does not check certificates by default; this request sends no secret either.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        host = place.rsplit(":", 1)[0].strip("[]")
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
