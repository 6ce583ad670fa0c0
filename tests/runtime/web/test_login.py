"""Tokens, sessions, host names and origins of the web view."""

from __future__ import annotations

import socket

import pytest

from gasmcast.runtime.web.login import Login, is_loopback, known_host, same_origin


def test_a_token_opens_a_session_that_ends() -> None:
    now = [0.0]
    login = Login("right", clock=lambda: now[0])
    session = login.open_session("right")
    assert login.knows(session)
    assert not login.knows("another")
    assert not login.knows(None)
    now[0] = 13 * 3600
    assert not login.knows(session)


def test_a_thousand_wrong_tokens_close_the_door_for_a_minute() -> None:
    now = [0.0]
    login = Login("right", clock=lambda: now[0])
    assert [login.open_session(f"wrong {k}", "bad") for k in range(1000)] == [None] * 1000
    assert login.closed("bad")
    assert login.open_session("right", "bad") is None  # nor may a guess be lucky now
    assert login.open_session("right", "good") is not None  # another client is not kept out
    now[0] = 61
    assert login.open_session("right", "bad") is not None


def test_guesses_from_many_addresses_do_not_fill_the_memory() -> None:
    login = Login("right", clock=lambda: 0.0)
    for number in range(5000):
        login.open_session("wrong", str(number))
    assert len(login._wrong) <= 1024


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("box", False)],
)
def test_only_this_machine_needs_no_login(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("127.0.0.1:8420", True),
        ("[::1]:8420", True),
        ("localhost", True),
        ("192.168.1.5:8420", True),
        (socket.gethostname(), True),
        ("evil.example:8420", False),
        ("localhost.evil.example", False),
        ("", False),
        ("[", False),
    ],
)
def test_a_name_that_is_not_of_this_machine_is_not_answered(header: str, known: bool) -> None:
    assert known_host(header, "127.0.0.1") is known


def test_the_name_that_the_server_was_given_may_have_capitals() -> None:
    assert known_host("box.example:8420", "Box.example")
    assert known_host("BOX.example", "Box.example")


@pytest.mark.parametrize(
    ("origin", "same"),
    [(None, True), ("http://box:8420", True), ("http://evil.example", False), ("null", False)],
)
def test_only_a_page_of_this_server_may_send(origin: str | None, same: bool) -> None:
    assert same_origin(origin, ("box:8420", "")) is same
