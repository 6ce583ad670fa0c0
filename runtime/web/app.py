"""Routes of the web view: the page, pictures, messages, stored events, attention, login."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from gasmcast.errors import GasmcastError
from gasmcast.runtime.http.refusal_log import RefusalLog
from gasmcast.runtime.web.camera_pictures import BOUNDARY, Pictures
from gasmcast.runtime.web.guard import Guard
from gasmcast.runtime.web.login import Login
from gasmcast.runtime.web.page_camera import PageCameras

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from gasmcast.runtime.web.feed import WebFeed

__all__ = ["Page", "build_app"]

_log = logging.getLogger(__name__)
_STATIC = Path(__file__).parent / "static"
_KEEP_ALIVE_S = 10.0
_LOGIN_S = 5.0  # for the token to arrive
_MAX_LOGIN_BYTES = 1_000
_MAX_STREAMS = 64
_MAX_ATTENTION = 4  # requests for maps at once; each may wait for seconds
_MAX_DIGITS = 18  # of an id; SQLite takes 64 bits
Attention = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Page:
    """Content of the page beside the records."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    """`engine`, `labels` and `bundle` of the run, as JSON data."""
    attention: Attention | None = None
    """Returns the attention maps of a camera; None: the bundle has no attention graphs."""
    cameras: PageCameras | None = None
    """Takes pictures from browsers; None: they are not allowed."""


def build_app(feed: WebFeed, page: Page, *, bound: str, login: Login | None) -> ASGIApp:
    """Return the web view as an ASGI application.

    Args:
        feed: pictures and records of the run.
        page: what else the page shows.
        bound: host that the server listens at.
        login: sessions of users; None: no login is needed.
    """
    routes = _Routes(feed, page, login)
    listed = [
        Route("/", routes.index),
        Route("/login", routes.login_page),
        Route("/login", routes.log_in, methods=["POST"]),
        Route("/facts", routes.facts),
        Route("/messages", routes.messages),
        Route("/events", routes.events),
        Route("/events/{number}", routes.event),
        Route("/events/{number}/{picture}.jpg", routes.event_picture),
        Route("/cameras/{camera:path}/stream", routes.stream),
        Route("/cameras/{camera:path}/snapshot.jpg", routes.snapshot),
        Route("/cameras/{camera:path}/attention", routes.attention),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    if page.cameras is not None:
        listed.append(WebSocketRoute("/browser-camera", page.cameras.serve))
    return Guard(Starlette(routes=listed), bound, login)


class _Routes:
    """Answers to the requests of the page."""

    def __init__(self, feed: WebFeed, page: Page, login: Login | None) -> None:
        self._feed, self._page, self._login = feed, page, login
        self._pictures = Pictures(feed)
        self._streams = 0
        self._refused = RefusalLog(_log)
        # Waiting for the maps of a stalled camera must not hold up the pictures of the others.
        self._viewers = ThreadPoolExecutor(_MAX_ATTENTION, "attention")

    async def index(self, _: Request) -> Response:
        return FileResponse(_STATIC / "index.html")

    async def login_page(self, _: Request) -> Response:
        return FileResponse(_STATIC / "login.html")

    async def log_in(self, request: Request) -> Response:
        if self._login is None:
            return RedirectResponse("/", 303)
        client = request.client.host if request.client else ""
        if self._login.closed(client):
            text = "Too many wrong tokens. Try again in a minute.\n"
            return PlainTextResponse(text, 429, {"retry-after": "60"})

        # A body that never ends must not hold one of the few connections.
        try:
            body = await asyncio.wait_for(_login_body(request), _LOGIN_S)
        except asyncio.TimeoutError:
            self._refused.note("a login whose token did not arrive in time")
            text = "The token did not arrive in time.\n"
            return PlainTextResponse(text, 408, {"connection": "close"})
        if body is None:
            return PlainTextResponse("This is no token.\n", 413, {"connection": "close"})

        session = self._login.open_session(body.decode("utf-8", "replace").strip(), client)
        if session is None:
            self._refused.note(f"a wrong token from {client}", "a wrong token")
            return PlainTextResponse("Wrong token.\n", 403)
        answer = PlainTextResponse("ok\n")
        secure = request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(
            self._login.cookie, session, httponly=True, samesite="strict", secure=secure
        )
        return answer

    async def facts(self, _: Request) -> Response:
        store = self._feed.store
        return JSONResponse(
            {
                **self._page.facts,
                "attention": self._page.attention is not None,
                "browser_cameras": self._page.cameras is not None,
                "keep_s": None if store is None else store.keep_s,
                "store_trouble": "" if store is None else store.trouble,
            }
        )

    async def messages(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self._streams >= _MAX_STREAMS:
            return self._busy()
        return StreamingResponse(self._messages(), media_type="text/event-stream")

    async def _messages(self) -> AsyncIterator[bytes]:
        """Yield records as server-sent events; a comment keeps a silent connection open."""
        self._streams += 1
        try:
            with self._feed.subscribe() as subscriber:
                yield b"retry: 2000\n\n"
                while True:
                    messages = await subscriber.take(_KEEP_ALIVE_S)
                    text = "".join(f"data: {message}\n\n" for message in messages)
                    yield text.encode() or b": alive\n\n"
        finally:
            self._streams -= 1

    async def stream(self, request: Request) -> Response:
        camera = request.path_params["camera"]
        if camera not in self._feed.cameras():
            return _no_camera(camera)
        media = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        if request.method == "HEAD":
            return Response(media_type=media)
        if self._streams >= _MAX_STREAMS:
            return self._busy()
        return StreamingResponse(self._stream(camera), media_type=media)

    async def _stream(self, camera: str) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            async for part in self._pictures.stream(camera):
                yield part
        finally:
            self._streams -= 1

    async def snapshot(self, request: Request) -> Response:
        camera = request.path_params["camera"]
        if camera not in self._feed.cameras():
            return _no_camera(camera)
        data = await self._pictures.newest(camera)
        if data is None:
            return PlainTextResponse(f"{camera} shows no picture at present.\n", 503)
        return Response(data, media_type="image/jpeg")

    async def events(self, request: Request) -> Response:
        """Return events, newest first."""
        query = request.query_params
        camera, label = query.get("camera", ""), query.get("label", "")
        try:
            before_s = float(query["before"]) if "before" in query else None
        except ValueError:
            return PlainTextResponse("before is a number of seconds since 1970.\n", 400)

        found = await asyncio.to_thread(self._feed.events, before_s, camera, label)
        return JSONResponse(found)

    async def event(self, request: Request) -> Response:
        store = self._feed.store
        number = _number(request.path_params["number"])
        found = None
        if store is not None and number is not None:
            found = await asyncio.to_thread(store.event, number)
        if found is None:
            return PlainTextResponse("This event is not stored (any more).\n", 404)
        return JSONResponse(found)

    async def event_picture(self, request: Request) -> Response:
        store = self._feed.store
        number = _number(request.path_params["number"])
        picture = _number(request.path_params["picture"])
        data = None
        if store is not None and number is not None and picture is not None:
            data = await asyncio.to_thread(store.picture, number, picture)
        if data is None:
            return PlainTextResponse("This picture is not stored (any more).\n", 404)
        return Response(data, media_type="image/jpeg")

    async def attention(self, request: Request) -> Response:
        """Return the attention maps of the last window of a camera."""
        if self._page.attention is None:
            text = "The bundle has no attention graphs: export it with --attention.\n"
            return PlainTextResponse(text, 404)
        camera = request.path_params["camera"]
        if camera not in self._feed.cameras():
            return _no_camera(camera)
        try:
            patch = request.query_params.get("patch")
            chosen = None if patch is None else int(patch)
            answer = partial(self._page.attention, camera, patch=chosen)
            maps = await asyncio.get_running_loop().run_in_executor(self._viewers, answer)
        except (GasmcastError, ValueError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        return Response(json.dumps(maps), media_type="application/json")

    def _busy(self) -> Response:
        self._refused.note("a page, because too many are open")
        text = "Too many pages are open. Close some.\n"
        return PlainTextResponse(text, 503, {"retry-after": "5"})


async def _login_body(request: Request) -> bytes | None:
    """Return the body of a login; None if it is too long for a token."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_LOGIN_BYTES:
            return None
    return body


def _number(text: str) -> int | None:
    """Return an id of a path; None if it is none."""
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
        return int(text)
    return None


def _no_camera(camera: str) -> Response:
    return PlainTextResponse(f"There is no camera {camera!r}.\n", 404)
