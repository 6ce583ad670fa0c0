"""Why a network camera does not open: asked once more in plain words, because FFmpeg through OpenCV only says no."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from gasmcast.runtime.sources.capture import TIMEOUT_S

__all__ = ["diagnose"]

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_MEANING = {
    400: "does not understand the request",
    401: "wants another user name or password",
    403: "forbids it",
    404: "has no such path",
    503: "is busy; too many are watching",
}


def diagnose(url: str, timeout_s: float = TIMEOUT_S) -> str:
    """One clause: the name, the port, the certificate, the path, or the video itself. No secret of `url` is in it."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as plain:
            status = _ask(plain, parts.scheme, place, parts.path or "/")
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
    if status < 300 or (status == 401 and parts.username):
        # This asks without the password, so it cannot tell a wrong one from a camera that is slow.
        with_login = "this user name and password gave " if status == 401 else ""
        return f"{place} answers, but {with_login}no video {'' if with_login else 'came '}in time."
    return f"{place} {_MEANING.get(status, f'answers {status}')}."


def _ask(connection: socket.socket, scheme: str, place: str, path: str) -> int | None:
    """The status that a bare request gets; None for an answer of another kind."""
    if scheme in ("rtsps", "https"):
        context = ssl.create_default_context()
        # FFmpeg does not check certificates unless told; this only asks what is there, and sends no secret.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(
            connection, server_hostname=place.rsplit(":", 1)[0].strip("[]")
        )
    if scheme.startswith("rtsp"):
        request = f"DESCRIBE {scheme}://{place}{path} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    else:
        request = f"GET {path} HTTP/1.0\r\nHost: {place}\r\n\r\n"
    connection.sendall(request.encode("ascii", "replace"))
    words = connection.recv(64).split(b" ", 2)
    return (
        int(words[1])
        if len(words) > 1 and words[0].startswith((b"RTSP/", b"HTTP/")) and words[1].isdigit()
        else None
    )
