"""Host names, with resolvers that answer, refuse, or never answer."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.host_resolver import HostResolver
from gasmcast.runtime.sources.open_sources import open_sources
from gasmcast.runtime.sources.options import ffmpeg_options


def open_source(text):
    ((_, source),) = open_sources([text])
    return source


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)


@pytest.fixture
def silent():
    """A resolver that never answers, and the names it received."""
    over = threading.Event()

    def resolve(host, port=None):
        resolve.asked.append(host)
        over.wait(30)

    resolve.asked = []
    yield resolve
    over.set()


def test_a_name_that_is_known_is_no_trouble_and_pending_for_each_time():
    asked = []
    resolver = HostResolver(asked.append)
    assert [resolver.failure("cam.lan"), resolver.failure("cam.lan")] == [None, None]
    assert asked == ["cam.lan", "cam.lan"]


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")]
)
def test_a_name_that_is_not_known_is_said_so(error):
    def resolve(host):
        raise error

    assert (
        HostResolver(resolve).failure("cam.lan") == "the name cam.lan is not known to this network."
    )


@pytest.mark.parametrize("host", ["10.0.0.5", "::1", "fe80::1%eth0"])
def test_an_address_is_not_looked_up(silent, host):
    assert HostResolver(silent).failure(host) is None
    assert silent.asked == []


def test_behind_a_proxy_a_name_need_not_be_known_here(silent, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://10.0.0.1:3128")
    assert HostResolver(silent).failure("cam.example") is None
    assert silent.asked == []


def test_a_resolver_that_never_answers_costs_the_limit_and_one_thread_a_name(silent):
    resolver, before = HostResolver(silent, timeout_s=0.1), threading.active_count()
    started = time.monotonic()
    for _ in range(5):
        assert resolver.failure("a.lan") == "its name was not found within 0.1 s."
    assert resolver.failure("b.lan") is not None
    assert 0.55 < time.monotonic() - started < 3.0
    assert silent.asked == ["a.lan", "b.lan"]
    assert threading.active_count() == before + 2


def test_a_late_answer_is_no_answer_to_a_later_question():
    answers = [threading.Event(), threading.Event()]
    left = iter(answers)
    resolver = HostResolver(lambda host: next(left).wait(10), timeout_s=0.05)
    assert resolver.failure("a.lan") is not None
    answers[0].set()
    while resolver._pending:
        time.sleep(0.001)
    assert resolver.failure("a.lan") is not None  # looked up again
    answers[1].set()


def test_a_silent_resolver_keeps_no_other_kind_of_capture_from_opening(silent, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", silent)
    errors = []

    def open_it():
        with pytest.raises(SourceError) as error:
            next(open_source("rtsp://viewer:s3cret@cam.example:554/x").frames())
        errors.append(error.value)

    thread = threading.Thread(target=open_it)
    started = time.monotonic()
    thread.start()
    while not silent.asked:
        time.sleep(0.001)
    with ffmpeg_options("file"):
        assert time.monotonic() - started < 1.0
    thread.join(10)
    assert 1.9 < time.monotonic() - started < 5.0
    assert "cannot be opened: its name was not found within 2 s." in errors[0].what
    assert "s3cret" not in str(errors[0])
    assert "cam.example:554/x" in errors[0].what
