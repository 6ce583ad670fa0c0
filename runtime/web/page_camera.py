"""The WebSocket through which a page becomes a camera of the run."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from starlette.websockets import WebSocketDisconnect

from gasmcast.errors import GasmcastError, SourceError
from gasmcast.runtime.web.browser_camera import BrowserCamera

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from gasmcast.runtime.session import Session
    from gasmcast.runtime.web.feed import WebFeed

__all__ = ["PageCameras"]

_log = logging.getLogger(__name__)
_MAX_CAMERAS = 8
_SILENT_S = 10.0


class PageCameras:
    """Browsers that are cameras at present.

    Args:
        session: the run that the cameras join.
        feed: forgets a camera that has gone.
    """

    def __init__(self, session: Session, feed: WebFeed) -> None:
        self._session, self._feed = session, feed
        self._number = 0
        self._open = 0
        # Joining and leaving may take seconds, for which the pictures must not wait.
        self._changes = ThreadPoolExecutor(2, "browser-cameras")

    async def serve(self, socket: WebSocket) -> None:
        """Take pictures from one page until it goes; it joins and leaves the run as a camera."""
        await socket.accept()
        if self._open >= _MAX_CAMERAS:
            await socket.close(1013, f"{_MAX_CAMERAS} browsers are cameras already")
            return

        self._open += 1
        loop, added = asyncio.get_running_loop(), False
        camera = BrowserCamera(self._free_name())
        try:
            await loop.run_in_executor(self._changes, self._session.add, camera)
            added = True
            await socket.send_text(camera.name)
            await self._receive(socket, camera)
        except GasmcastError as error:
            _log.warning("%s: %s", camera.name, error)
            await socket.close(1008, str(error)[:120])
        except (WebSocketDisconnect, asyncio.TimeoutError):
            pass  # the page has gone, or sleeps
        finally:
            self._open -= 1
            camera.end()
            # What was not added may have the name of a camera that was.
            if added:
                await loop.run_in_executor(self._changes, self._leave, camera.name)

    def _free_name(self) -> str:
        """Return the next name that no camera of the run has."""
        taken = self._session.cameras.names()
        while True:
            self._number += 1
            name = f"browser-{self._number}"
            if name not in taken:
                return name

    @staticmethod
    async def _receive(socket: WebSocket, camera: BrowserCamera) -> None:
        """Pass the page's messages on."""
        while True:
            message = await asyncio.wait_for(socket.receive(), _SILENT_S)
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                raise SourceError("A browser camera sent something else than a picture.")
            camera.put(data)

    def _leave(self, name: str) -> None:
        try:
            self._session.remove(name)
        except GasmcastError as error:
            _log.warning("%s: %s", name, error)
        self._feed.forget(name)
