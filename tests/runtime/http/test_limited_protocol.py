from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import closing, suppress

import pytest

from gasmcast.runtime.http.address import bind
from gasmcast.runtime.http.limited_protocol import LimitedProtocol
from gasmcast.runtime.http.refusal_log import RefusalLog
from gasmcast.runtime.http.server_thread import ServerThread

HEAD = b"GET /%s HTTP/1.1\r\nHost: x\r\n"


async def app(scope, receive, send):
    """Answer at once, after a second or the body, or with more than a socket's buffers hold."""
    while scope["path"] == "/body" and (await receive()).get("more_body"):
        pass
    await asyncio.sleep(1.0 if scope["path"] == "/later" else 0.0)
    body = b"x" * (20_000_000 if scope["path"] == "/much" else 2)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def serve():
    """Return a function that serves `app` with limits, and connects to it."""
    opened = []

    def start(**limits):
        base = {"request_s": 0.3, "stalled_s": 0.3, "max_connections": 8}
        listener = bind("127.0.0.1", 0)
        address = listener.getsockname()
        protocol = type("Small", (LimitedProtocol,), base | limits)
        opened.append(ServerThread("test", app, listener, protocol))

        def connect(sent: bytes = b"") -> socket.socket:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(10)
            client.connect(address)
            client.sendall(sent)
            opened.append(client)
            return client

        return connect

    yield start
    for one in opened:
        one.close()


def answer(client: socket.socket) -> bytes:
    """Return what comes until the server ends the connection."""
    received = b""
    with suppress(ConnectionError):
        while chunk := client.recv(65536):
            received += chunk
    return received


def test_a_request_that_does_not_end_is_ended(serve):
    for sent in (b"", HEAD % b"now", b"POST /"):
        started = time.monotonic()
        assert answer(serve()(sent)) == b""
        assert 0.2 < time.monotonic() - started < 3


def test_a_second_request_has_a_limit_too(serve):
    client = serve()(HEAD % b"now" + b"\r\n")
    # Head and body may arrive in two pieces.
    received = b""
    while not received.endswith(b"xx"):
        received += client.recv(1000)
    client.sendall(HEAD % b"now")
    assert answer(client) == b""


def test_an_answer_may_take_longer_than_a_request(serve):
    client = serve()(HEAD % b"later" + b"Connection: close\r\n\r\n")
    assert answer(client).endswith(b"xx")


def test_an_answer_may_be_within_the_deadline(serve):
    client = serve(answer_within_deadline=True)(HEAD % b"later" + b"\r\n")
    assert answer(client) == b""


def test_a_client_that_does_not_read_is_ended(serve):
    connect = serve()
    lazy = connect(HEAD % b"much" + b"\r\n")
    time.sleep(1.5)
    assert len(answer(lazy)) < 20_000_000


@pytest.mark.parametrize(
    ("within", "first_is_cut"),
    [(False, False), (True, True)],
    ids=["the newest is one too many", "the oldest makes room"],
)
def test_among_busy_connections(serve, within, first_is_cut):
    connect = serve(max_connections=3, request_s=5.0, answer_within_deadline=within)
    clients = []
    for _ in range(4):
        clients.append(connect(HEAD % b"later" + b"Connection: close\r\n\r\n"))
        time.sleep(0.05)
    cut = [not answer(client) for client in clients]
    assert cut == [first_is_cut, False, False, not first_is_cut]


def test_bodies_that_never_arrive_make_room(serve):
    connect = serve(max_connections=3)
    silent = []
    for _ in range(3):
        silent.append(connect(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"))
        time.sleep(0.05)
    newest = connect(HEAD % b"now" + b"Connection: close\r\n\r\n")
    assert answer(newest).endswith(b"xx")
    assert answer(silent[0]) == b""


def test_slow_and_too_many_clients_are_in_the_log_once(serve, caplog, monkeypatch):
    fresh = RefusalLog(logging.getLogger("test"))
    monkeypatch.setattr("gasmcast.runtime.http.limited_protocol._refused", fresh)
    connect = serve(max_connections=2, server_name="/metrics")
    assert answer(connect()) == b""  # a browser may connect ahead of need
    assert caplog.messages == []

    for sent in (b"GET / HTTP/1.1\r\nAuthorization: secret", b"POST /"):
        assert answer(connect(sent)) == b""
    for _ in range(6):
        connect()
    time.sleep(0.2)
    assert caplog.messages == [
        "refused a slow request to /metrics",
        "refused a connection to /metrics, which has too many",
    ]


def test_silent_connections_make_room_oldest_first(serve):
    connect = serve(max_connections=3, request_s=30.0)
    silent = []
    for _ in range(3):
        silent.append(connect())
        time.sleep(0.05)
    with closing(connect(HEAD % b"now" + b"Connection: close\r\n\r\n")) as newest:
        assert answer(newest).endswith(b"xx")
    assert answer(silent[0]) == b""
    silent[1].settimeout(0.2)
    with pytest.raises(TimeoutError):
        silent[1].recv(1)
