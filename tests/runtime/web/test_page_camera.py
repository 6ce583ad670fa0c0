"""Pages that are cameras: who may be one, under which name, and what a bad page does."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import cv2
import pytest

from gasmcast.errors import SourceError, UsageError
from gasmcast.runtime.web.app import Page
from gasmcast.runtime.web.browser_camera import MAX_MESSAGE, BrowserCamera
from gasmcast.runtime.web.feed import WebFeed
from gasmcast.runtime.web.page_camera import PageCameras
from gasmcast.runtime.web.server import WebServer, listen
from tests.runtime.web.site import PICTURE

client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()


class FakeSession:
    """Session with cameras by name, which is also its list of cameras."""

    def __init__(self) -> None:
        self.joined: dict[str, BrowserCamera | None] = {}
        self.refuses = ""
        self.cameras = self

    def names(self) -> list[str]:
        return list(self.joined)

    def add(self, camera: BrowserCamera) -> None:
        if self.refuses:
            raise SourceError(self.refuses)
        if camera.name in self.joined:
            raise UsageError(f"There is a camera {camera.name!r} already.")
        self.joined[camera.name] = camera

    def remove(self, name: str) -> bool:
        del self.joined[name]
        return True


class Cameras:
    """A server to which pages send pictures."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.session = FakeSession()
        feed = WebFeed()
        bound, listener = listen(f"{host}:0")
        cameras = PageCameras(self.session, feed)
        self.server = WebServer(bound, listener, feed, Page(cameras=cameras))

    def open(self, **options: object) -> client.ClientConnection:
        return client.connect(f"ws://127.0.0.1:{self.server.port}/browser-camera", **options)


@pytest.fixture
def cameras() -> Iterator[Cameras]:
    opened = Cameras()
    yield opened
    opened.server.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_browser_stays_a_camera_until_it_goes(
    cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A WebSocket is not ended by the limit of the request that opened it."""
    monkeypatch.setattr("gasmcast.runtime.web.server._WebProtocol.request_s", 0.3)
    with cameras.open() as page:
        assert page.recv(5) == "browser-1"
        for stamp_s in range(8):
            page.send(struct.pack("<d", stamp_s) + JPEG)
            time.sleep(0.1)
        frames = cameras.session.joined["browser-1"].frames()
        assert next(frames).image.shape == PICTURE.shape
    wait_for(lambda: not cameras.session.joined)


def test_a_name_that_is_taken_is_skipped(cameras: Cameras) -> None:
    cameras.session.joined["browser-1"] = None
    with cameras.open() as page:
        assert page.recv(5) == "browser-2"
    wait_for(lambda: list(cameras.session.joined) == ["browser-1"])


def test_a_page_that_cannot_join_removes_nothing(
    cameras: Cameras, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cameras.session, "names", list)  # the name is taken in this moment
    cameras.session.joined["browser-1"] = None
    with cameras.open() as page, pytest.raises(ConnectionClosed, match="already"):
        page.recv(5)
    cameras.session.refuses = "The list is full."
    with cameras.open() as page, pytest.raises(ConnectionClosed, match="full"):
        page.recv(5)
    time.sleep(0.2)
    assert list(cameras.session.joined) == ["browser-1"]
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2


def test_the_ninth_browser_is_refused(cameras: Cameras) -> None:
    with ExitStack() as opened:
        pages = [opened.enter_context(cameras.open()) for _ in range(8)]
        for page in pages:
            page.recv(5)
        with cameras.open() as ninth, pytest.raises(ConnectionClosed, match="8 browsers"):
            ninth.recv(5)

        pages[0].close()
        wait_for(lambda: len(cameras.session.joined) == 7)
        with cameras.open() as another:
            assert another.recv(5) == "browser-9"


@pytest.mark.parametrize(
    ("message", "code"),
    [("a text", 1008), (b"no picture", 1008), (bytes(MAX_MESSAGE + 1), 1009)],
    ids=["text", "no picture", "too large"],
)
def test_what_is_no_picture_ends_the_camera(
    cameras: Cameras, message: str | bytes, code: int
) -> None:
    with cameras.open() as page:
        page.recv(5)
        page.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            page.recv(5)
    assert caught.value.rcvd.code == code
    wait_for(lambda: not cameras.session.joined)


def test_pages_of_another_site_may_not_be_cameras(cameras: Cameras) -> None:
    with pytest.raises(InvalidStatus) as caught, cameras.open(origin="http://evil.example"):
        pass
    assert caught.value.response.status_code == 403
    with cameras.open(origin=f"http://127.0.0.1:{cameras.server.port}") as page:
        assert page.recv(5) == "browser-1"


def test_a_camera_needs_the_token_as_well() -> None:
    opened = Cameras("0.0.0.0")
    for cookie in ({}, {"Cookie": f"gasmcast-{opened.server.port}=guess"}):
        with pytest.raises(InvalidStatus) as caught, opened.open(additional_headers=cookie):
            pass
        assert caught.value.response.status_code == 403
    assert not opened.session.joined
    opened.server.close()


def test_browsers_are_no_cameras_unless_it_is_allowed() -> None:
    bound, listener = listen("127.0.0.1:0")
    server = WebServer(bound, listener, WebFeed(), Page())
    address = f"ws://127.0.0.1:{server.port}/browser-camera"
    with pytest.raises(InvalidStatus) as caught, client.connect(address):
        pass
    assert caught.value.response.status_code == 403
    server.close()
