from __future__ import annotations

import json
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
