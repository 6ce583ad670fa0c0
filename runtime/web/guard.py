"""Checks that every request of the web view passes, and headers that every answer has."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

from gasmcast.runtime.web.login import Login, known_host, same_origin

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

# fmt: off
_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:",
    "connect-src 'self'", "media-src 'self' blob:", "form-action 'self'", "base-uri 'none'",
    "frame-ancestors 'none'",
))
_HEADERS = {
    "content-security-policy": _POLICY, "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer", "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}
# fmt: on
_OPEN = ("/login", "/static/view.css", "/static/login.js")


class Guard:
    """ASGI application that lets a request pass or answers it itself.

    Args:
        app: answers what passes.
        bound: host that the server listens at.
        login: sessions; None: everybody may read (this machine alone can reach it).
    """

    def __init__(self, app: ASGIApp, bound: str, login: Login | None) -> None:
        self._app, self._bound, self._login = app, bound, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request or a WebSocket, and pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()  # the request to connect
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        elif refusal[0] == 303:
            await RedirectResponse("/login", 303)(scope, receive, _with_headers(send))
        else:
            status, text = refusal
            await PlainTextResponse(f"{text}\n", status)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return status and text of a refusal; None if the request may pass."""
        if not known_host(headers.get("host", ""), self._bound):
            return 421, "ask for this machine by its address or name"

        # Only a page of this server may change something or send pictures.
        changes = scope["type"] == "websocket" or scope.get("method") not in ("GET", "HEAD")
        hosts = (headers.get("host", ""), headers.get("x-forwarded-host", ""))
        if changes and not same_origin(headers.get("origin"), hosts):
            return 403, "not from another site"

        if self._login is None or scope["path"] in _OPEN:
            return None
        if self._login.knows(_session(headers, self._login.cookie)):
            return None
        return (303, "log in") if scope["path"] == "/" else (401, "log in")


def _session(headers: Headers, cookie: str) -> str | None:
    """Return the session cookie of a request."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(cookie)
    except CookieError:
        return None
    return morsel.value if morsel is not None else None


def _with_headers(send: Send) -> Send:
    """Return a `send` that adds the headers of every answer."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return guarded
