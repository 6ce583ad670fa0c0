"""The web view as a server: what it answers, to whom, and what bad clients do to it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.web.app import Page
from gasmcast.runtime.web.camera_pictures import Pictures
from gasmcast.runtime.web.event_store import EventStore
from gasmcast.runtime.web.feed import WebFeed
from gasmcast.runtime.web.server import WebServer, listen
from tests.runtime.web.site import EVENT, PICTURE, Site, decision, read_until, stats


@pytest.fixture
def site() -> Iterator[Site]:
    opened = Site()
    yield opened
    opened.close()


@pytest.fixture
def open_site() -> Iterator[Site]:
    """A server that other machines reach."""
    opened = Site("0.0.0.0")
    yield opened
    opened.close()


def test_the_page_is_light_and_takes_nothing_from_elsewhere(site: Site) -> None:
    page = site.ask("/")
    text = page.read().decode()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    weight = len(text)
    for name in ("view.css", "view.js", "camera.js", "attention.js", "replay.js"):
        part = site.ask(f"/static/{name}").read().decode()
        assert "http://" not in part.replace("http://www.w3.org", "")
        assert "https://" not in part
        weight += len(part)
    assert weight <= 150_000
    assert "<script>" not in text
    assert "style=" not in text


def test_messages_begin_with_the_present_state_and_go_on(site: Site) -> None:
    site.feed.write(decision(2.0))
    stream = site.ask("/messages")
    first = read_until(stream, b'"kind": "stats"')
    assert b'"time_s": 2.0' in first
    started = time.monotonic()
    site.feed.write(decision(2.5))
    read_until(stream, b'"time_s": 2.5')
    assert time.monotonic() - started < 0.15


def test_pictures_are_encoded_only_while_somebody_watches(site: Site) -> None:
    assert not site.feed.wants_frame("front door")
    stream = site.ask("/cameras/front%20door/stream")
    deadline = time.monotonic() + 5
    while not site.feed.wants_frame("front door"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    site.feed.frame("front door", 1.0, PICTURE)
    part = read_until(stream, b"\xff\xd9")
    image = cv2.imdecode(np.frombuffer(part[part.index(b"\xff\xd8") :], np.uint8), 1)
    np.testing.assert_allclose(image.mean((0, 1)), (0, 200, 0), atol=6)

    site.hang_up()
    while site.feed.wants_frame("front door"):
        site.feed.frame("front door", 1.0, PICTURE.copy())
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_client_that_does_not_read_slows_nothing(site: Site) -> None:
    lazy = socket.create_connection(("127.0.0.1", site.server.port))
    lazy.sendall(b"GET /messages HTTP/1.1\r\nHost: localhost\r\n\r\n")
    stream = site.ask("/messages")
    read_until(stream, b"stats")
    started = time.thread_time()  # what it costs the runtime's thread, however busy the machine
    for k in range(5000):
        site.feed.write(decision(float(k)))
    assert time.thread_time() - started < 3.0
    read_until(stream, b'"time_s": 4999.0', limit=10_000_000)
    lazy.close()


def test_events_come_from_memory_and_with_pictures_from_the_store(
    site: Site, tmp_path: Path
) -> None:
    site.feed.write(EVENT)
    assert [event["label"] for event in json.load(site.ask("/events"))] == ["Waving"]
    assert json.load(site.ask("/events?camera=other")) == []
    assert site.ask("/events/1").status == 404
    assert site.ask("/events?before=soon").status == 400

    kept = Site(store=EventStore(tmp_path / "e.sqlite", 3600, wall=lambda: 1e9))
    kept.feed.frame("front door", 2.0, PICTURE)
    kept.feed.write(EVENT)
    kept.feed.store.close()
    (found,) = json.load(kept.ask("/events"))
    assert kept.ask(f"/events/{found['id']}").status == 200
    assert kept.ask("/events/99999999999999999999").status == 404
    assert kept.ask(f"/events/{found['id']}/99999999999999999999.jpg").status == 404
    facts = json.load(kept.ask("/facts"))
    assert (facts["keep_s"], facts["store_trouble"]) == (3600, "")
    kept.close()


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/", "GET", {"Host": "evil.example"}, 421),
        ("/cameras/nobody/stream", "GET", {}, 404),
        ("/cameras/front%20door/snapshot.jpg", "GET", {}, 503),
        ("/cameras/front%20door/attention", "GET", {}, 404),
        ("/events/99999999999999999999", "GET", {}, 404),
        ("/events/" + "9" * 5000, "GET", {}, 404),
        ("/events/1/99999999999999999999.jpg", "GET", {}, 404),
        ("/events/-1", "GET", {}, 404),
        ("/static/../app.py", "GET", {}, 404),
        ("/static/%2e%2e/app.py", "GET", {}, 404),
        ("/browser-camera", "GET", {}, 404),
        ("/", "POST", {}, 405),
        ("/login", "POST", {"Origin": "http://evil.example"}, 403),
    ],
)
def test_what_is_not_answered(
    site: Site, path: str, method: str, headers: dict[str, str], status: int
) -> None:
    assert site.ask(path, method, **headers).status == status


def test_another_machine_needs_the_token(open_site: Site) -> None:
    for path in (
        "/facts",
        "/messages",
        "/events",
        "/events/1",
        "/events/1/0.jpg",
        "/cameras/front%20door/stream",
        "/cameras/front%20door/snapshot.jpg",
        "/cameras/front%20door/attention",
        "/browser-camera",
        "/static/view.js",
    ):
        assert open_site.ask(path).status == 401
    assert open_site.ask("/").headers["location"] == "/login"
    assert open_site.ask("/login").status == 200

    assert open_site.ask("/login", "POST", "wrong").status == 403
    answer = open_site.ask("/login", "POST", open_site.server.token)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"gasmcast-{open_site.server.port}=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    session = cookie.partition(";")[0]
    assert open_site.ask("/facts", Cookie=session).status == 200
    assert open_site.ask("/facts", Cookie=f"gasmcast-{open_site.server.port}=guess").status == 401


def test_guesses_of_the_token_are_limited(
    open_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    statuses = [open_site.ask("/login", "POST", f"wrong {k}").status for k in range(12)]
    assert statuses == [403] * 10 + [429] * 2
    assert open_site.ask("/login", "POST", open_site.server.token).status == 429
    assert open_site.ask("/login", "POST", "x" * 5000).status == 429
    assert caplog.messages == ["refused a wrong token from 127.0.0.1"]


def test_a_token_that_does_not_arrive_is_waited_for_some_seconds_only(
    open_site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gasmcast.runtime.web.app._LOGIN_S", 0.3)
    slow = socket.create_connection(("127.0.0.1", open_site.server.port), timeout=5)
    slow.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\nhalf")
    answer = b""
    while part := slow.recv(4096):  # until the server hangs up
        answer += part
    assert answer.startswith(b"HTTP/1.1 408")
    assert caplog.messages == ["refused a login whose token did not arrive in time"]
    slow.close()


def test_logins_without_a_token_leave_room_for_a_good_one(open_site: Site) -> None:
    others = []
    for _ in range(200):
        other = socket.create_connection(("127.0.0.1", open_site.server.port))
        other.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n")
        others.append(other)
    started = time.monotonic()
    assert open_site.ask("/login", "POST", open_site.server.token).status == 200
    assert time.monotonic() - started < 3.0
    for other in others:
        other.close()


def test_many_and_slow_connections_leave_room_for_a_good_one(site: Site) -> None:
    others = []
    for k in range(300):
        other = socket.create_connection(("127.0.0.1", site.server.port))
        if k % 2:
            other.sendall(b"GET / HTTP/1.1\r\nHost: loc")  # and never the rest
        others.append(other)
    started = time.monotonic()
    assert site.ask("/facts").status == 200
    assert time.monotonic() - started < 3.0
    for other in others:
        other.close()


def test_a_request_that_never_ends_is_ended(site: Site) -> None:
    slow = socket.create_connection(("127.0.0.1", site.server.port))
    slow.settimeout(12)
    started = time.monotonic()
    slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
    with suppress(ConnectionResetError):
        assert slow.recv(100) == b""
    assert 3 < time.monotonic() - started < 11
    slow.close()


def test_a_second_request_that_never_ends_is_ended_as_well(site: Site) -> None:
    slow = socket.create_connection(("127.0.0.1", site.server.port))
    slow.settimeout(12)
    slow.sendall(b"GET /facts HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200 OK" in slow.recv(4096)
    started = time.monotonic()
    slow.sendall(b"GET /facts HTTP/1.1\r\nHost: loc")
    with suppress(ConnectionResetError):
        while slow.recv(4096):
            pass
    assert time.monotonic() - started < 11
    slow.close()


def test_a_stream_outlives_the_limit_of_a_request(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gasmcast.runtime.web.server._WebProtocol.request_s", 0.3)
    stream = site.ask("/messages")
    read_until(stream, b"stats")
    time.sleep(0.8)
    site.feed.write(decision(7.0))
    read_until(stream, b'"time_s": 7.0')


def test_a_client_that_stops_reading_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gasmcast.runtime.web.server._WebProtocol.stalled_s", 0.5)
    lazy = socket.create_connection(("127.0.0.1", site.server.port))
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.sendall(b"GET /cameras/front%20door/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    deadline = time.monotonic() + 5
    while not site.feed.wants_frame("front door"):
        assert time.monotonic() < deadline
        time.sleep(0.01)

    deadline = time.monotonic() + 20
    while site.feed.wants_frame("front door"):
        site.feed.frame("front door", 1.0, noise.copy())
        assert time.monotonic() < deadline, "its pictures are still encoded"
        time.sleep(0.02)
    lazy.close()


def test_a_head_request_holds_no_place_of_a_stream(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gasmcast.runtime.web.app._MAX_STREAMS", 1)
    for path in ("/messages", "/cameras/front%20door/stream"):
        answer = site.ask(path, "HEAD")
        assert (answer.status, answer.read()) == (200, b"")
    assert not site.feed.wants_frame("front door")

    stream = site.ask("/messages")
    read_until(stream, b"stats")
    assert [site.ask("/messages").status for _ in range(3)] == [503] * 3
    assert caplog.messages == ["refused a page, because too many are open"]


def test_another_site_may_read_nothing(site: Site) -> None:
    for path in ("/", "/facts", "/events", "/messages", "/static/view.js", "/nothing"):
        headers = site.ask(path, Origin="http://evil.example").headers
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_waiting_for_attention_maps_holds_up_no_picture() -> None:
    """More viewers wait than asyncio's own executor has threads."""
    release = threading.Event()

    def attention(camera: str, patch: int | None = None) -> dict[str, str]:
        release.wait(20)
        return {"camera": camera}

    opened = Site(page=Page(attention=attention))
    waiting = [
        socket.create_connection(("127.0.0.1", opened.server.port), timeout=20) for _ in range(50)
    ]
    for one in waiting:
        one.sendall(b"GET /cameras/front%20door/attention HTTP/1.1\r\nHost: localhost\r\n\r\n")
    time.sleep(0.5)
    with opened.feed.watch("front door"):
        opened.feed.frame("front door", 1.0, PICTURE)
        started = time.monotonic()
        assert opened.ask("/cameras/front%20door/snapshot.jpg").status == 200
    assert time.monotonic() - started < 5
    release.set()
    assert b"200 OK" in waiting[-1].recv(4096)
    for one in waiting:
        one.close()
    opened.close()


def test_pictures_of_cameras_that_left_are_dropped() -> None:
    feed = WebFeed()
    pictures = Pictures(feed)
    for name in ("browser-1", "browser-2"):
        feed.write(stats(name))
        with feed.watch(name):
            feed.frame(name, 1.0, PICTURE)
            assert asyncio.run(pictures.newest(name))
        assert list(pictures._encoded) == [name]


def test_the_token_may_be_given_and_then_holds_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a reverse proxy every visitor comes from this machine."""
    monkeypatch.setenv("GASMCAST_WEB_TOKEN", "long enough to be safe")
    opened = Site()
    assert opened.server.token == ""  # so it is not printed
    assert opened.ask("/facts").status == 401
    assert opened.ask("/login", "POST", "long enough to be safe").status == 200
    opened.close()

    monkeypatch.setenv("GASMCAST_WEB_TOKEN", "short")
    bound, listener = listen("127.0.0.1:0")
    with pytest.raises(UsageError, match="5 characters"):
        WebServer(bound, listener, WebFeed(), Page())
    listener.close()


def test_a_port_in_use_is_one_sentence() -> None:
    _, first = listen("127.0.0.1:0")
    with pytest.raises(MachineError, match="cannot listen"):
        listen(f"127.0.0.1:{first.getsockname()[1]}")
    first.close()


def test_the_form_of_a_picture_message() -> None:
    """The page writes the time as eight bytes, little endian: what `BrowserCamera` reads."""
    script = (Path(__file__).parents[3] / "runtime/web/static/camera.js").read_text()
    assert "setFloat64(0, seconds, true)" in script
    assert struct.calcsize("<d") == 8
