from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import RefusedError
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.sinks.queue import QueuedSink
from gasmcast.runtime.sinks.webhook import WebhookSink, sign


class Receiver:
    """Answers with the statuses of a list, then 204."""

    def __init__(self):
        self.got, self.statuses, self.location = [], [], ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((dict(self.headers), body))
                status = outer.statuses.pop(0) if outer.statuses else 204
                if status == "hang":
                    time.sleep(1.0)
                    return
                self.send_response(status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    one = Receiver()
    yield one
    one.close()


def quick(url, **settings):
    return WebhookSink(url, sleep=lambda _: None, timeout_s=0.5, **settings)


def test_an_event_is_posted_and_signed(receiver, make, monkeypatch):
    monkeypatch.setenv("GASMCAST_WEBHOOK_SECRET", "k3y")
    sink = quick(receiver.url, wall=lambda: 1234.9)
    for record in (
        make.decision(),
        make.event("start", 7),
        make.event("update", 7),
        make.notice(),
        make.event("end", 7),
    ):
        sink.write(record)
    assert [headers["X-Gasmcast-Event"] for headers, _ in receiver.got] == [
        "start-cam-7-1700000000000",
        "end-cam-7-1700000000000",
    ]
    assert not [
        record
        for record in (make.decision(), make.event("update"), make.notice(), make.stats())
        if sink.wants(record)
    ]
    headers, body = receiver.got[0]
    assert json.loads(body)["phase"] == "start"
    assert headers["X-Gasmcast-Timestamp"] == "1234"
    assert headers["X-Gasmcast-Signature"] == sign("k3y", "1234", body)
    assert sign("other", "1234", body) != sign("k3y", "1234", body) != sign("k3y", "1235", body)


@pytest.mark.parametrize("statuses", [[503, 500], [429, 408], ["hang"]])
def test_what_may_pass_is_tried_again(receiver, make, statuses):
    receiver.statuses = list(statuses)
    quick(receiver.url).write(make.event())
    assert len(receiver.got) == len(statuses) + 1


def test_after_three_attempts_it_is_the_queues_turn(receiver, make):
    receiver.statuses = [503] * 4
    sink = quick(receiver.url)
    with pytest.raises(MachineError, match="status 503"):
        sink.write(make.event())
    assert len(receiver.got) == 3
    receiver.statuses = [503] * 4
    queued = QueuedSink("webhook", lambda: quick(receiver.url), backoff=Backoff(0.01, 0.02))
    queued.write(make.event("end", 1))
    queued.write(make.event("start", 2))
    end = time.monotonic() + 10
    while queued.stats()["written"] < 2 and time.monotonic() < end:
        time.sleep(0.01)
    queued.close()
    marks = [
        headers["X-Gasmcast-Event"].removesuffix("-1700000000000")
        for headers, _ in receiver.got[3:]
    ]
    assert marks == ["end-cam-1"] * 5 + ["start-cam-2"]


def test_numbers_that_begin_anew_make_no_doubles(receiver, make):
    """A restart, or a camera that is added again, starts with event number 1 again."""
    first = make.event("start", 1)
    for event in (first, first, replace(first, wall_s=first.wall_s + 60.0)):
        quick(receiver.url).write(event)
    marks = [headers["X-Gasmcast-Event"] for headers, _ in receiver.got]
    assert marks[0] == marks[1] != marks[2]


def test_a_refusal_for_good_is_not_repeated(receiver, make, caplog):
    """The event is lost, so it must show in the statistics and the log, and not as written."""
    receiver.statuses = [410]
    queued = QueuedSink("webhook", lambda: quick(receiver.url), backoff=Backoff(0.01, 0.02))
    queued.write(make.event())
    queued.write(make.event("end"))
    queued.close()
    assert len(receiver.got) == 2
    assert queued.stats() == {"written": 1, "refused": 1, "waiting": 0}
    assert "410" in caplog.text


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(receiver, make, status):
    other = Receiver()
    receiver.location, receiver.statuses = other.url, [status]
    with pytest.raises(RefusedError, match=str(status)):
        quick(receiver.url).write(make.event())
    assert other.got == []
    other.close()


def test_nobody_there_is_one_sentence_without_the_secret(make, monkeypatch):
    monkeypatch.setenv("TOKEN", "t0ken")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    sink = quick("http://127.0.0.1:9/hook?token=${TOKEN}")
    with pytest.raises(MachineError, match="does not take events") as error:
        sink.write(make.event())
    assert "t0ken" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "file:///etc/passwd", "http:///x", "https://u:p@h/x", "x"]
)
def test_wrong_addresses(url):
    with pytest.raises(UsageError):
        WebhookSink(url)


class RawReceiver:
    """Accepts connections and sends what `answer` yields, a piece every `pause_s`."""

    def __init__(self, pieces, pause_s):
        self.requests = 0
        self._pieces, self._pause_s = pieces, pause_s
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/hook"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.requests += 1
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            for piece in self._pieces():
                connection.sendall(piece)
                time.sleep(self._pause_s)

    def close(self):
        self._socket.close()


@pytest.fixture
def raw(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    receivers = []

    def make(pieces, pause_s=0.05):
        receivers.append(RawReceiver(pieces, pause_s))
        return receivers[-1]

    yield make
    for one in receivers:
        one.close()


def endless(first, piece):
    def pieces():
        yield first
        while True:
            yield piece

    return pieces


def test_a_body_that_drips_does_not_hold_the_sink(raw, make):
    receiver = raw(endless(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b"x"))
    started = time.monotonic()
    quick(receiver.url).write(make.event())
    assert time.monotonic() - started < 0.4
    assert receiver.requests == 1


@pytest.mark.parametrize(
    ("first", "piece", "pause_s"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.05),
        (b"", b"H", 0.05),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    ],
)
def test_an_answer_that_does_not_end_is_given_up_by_the_deadline(raw, make, first, piece, pause_s):
    receiver = raw(endless(first, piece), pause_s)
    started = time.monotonic()
    with pytest.raises(MachineError, match="does not take events"):
        quick(receiver.url, attempts=1).write(make.event())
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    "url",
    [
        "https://host/a b",
        "https://ho st/a",
        "https://host/a\r\nX-Evil: 1",
        "https://host/a\tb",
        "https://host/küche",
        "https://bücher.example/a",
        "https://" + "a" * 80 + ".example/x",
        "https://h℀st/x",
        "https://[::1/x",
        "https://host:99999/x",
        "https://host:0/x",
        "https://host:x/x",
        "https://ho%st/x",
        "https://host/\udce9",
        "",
    ],
)
def test_an_address_that_would_lose_every_event_is_refused_at_the_start(url):
    with pytest.raises(UsageError) as error:
        WebhookSink(url)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "address",
    ["https://h/a", "http://127.0.0.1:8080/a%20b?x=1&y=[2]", "https://[::1]:8443/", "http://a_b/"],
)
def test_good_addresses(address):
    assert WebhookSink(address) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://u:${HOOK_PASS}@h℀st/",
        "https://u:${HOOK_PASS}@[box/x",
        "https://u:hunter2secret@h℀st/",
        "https:/u:hunter2secret@host/",
        "u:hunter2secret@host/x y",
        "https://u:hunter2 secret@host/",
        "https://u:${HOOK_PASS}@host:99999/",
    ],
)
def test_a_malformed_address_never_shows_its_secret(url, monkeypatch):
    monkeypatch.setenv("HOOK_PASS", "hunter2secret")
    with pytest.raises(UsageError) as error:
        WebhookSink(url)
    assert "hunter2" not in str(error.value)


def test_a_secret_of_several_path_segments_and_a_whole_address_come_from_the_environment(
    receiver, make, monkeypatch, caplog
):
    """Slack and Discord have their secret in the path."""
    monkeypatch.setenv("HOOK_PATH", "T000/B000/s3cr3t")
    base = receiver.url.removesuffix("/hook")
    sink = quick(base + "/services/${HOOK_PATH}")
    assert sink._url.text.endswith("/services/T000/B000/s3cr3t")
    monkeypatch.setenv("HOOK", base + "/services/T111/wh0le")
    sink = quick("${HOOK}")
    sink.write(make.event())
    assert len(receiver.got) == 1
    receiver.statuses = [404, 503, 503, 503]
    for kind in (RefusedError, MachineError):
        with pytest.raises(kind) as error:
            sink.write(make.event())
        assert "wh0le" not in str(error.value)
        assert "T111" not in str(error.value)
