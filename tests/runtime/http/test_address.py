from __future__ import annotations

import pytest

from gasmcast.errors import UsageError
from gasmcast.runtime.http.address import bind, parse_address


def test_addresses():
    assert parse_address("9000") == ("127.0.0.1", 9000)
    assert parse_address(":9000") == ("127.0.0.1", 9000)
    assert parse_address("0.0.0.0:9000") == ("0.0.0.0", 9000)
    assert parse_address("[::1]:9000") == ("::1", 9000)
    assert parse_address("box") == ("box", 9464)
    for text in (
        "box:x",
        "1:99999",
        "::1",
        "::1:9000",
        "ü..ö:1",
        "h\nx:1",
        "²:1",
        "1:" + "9" * 5000,
    ):
        with pytest.raises(UsageError):
            parse_address(text)


def test_the_hint_names_the_default_port_of_the_caller():
    with pytest.raises(UsageError) as caught:
        parse_address("box:x", 8420)
    assert "Write 8420, or 0.0.0.0:8420" in caught.value.hint


def test_an_address_is_bound_once():
    with bind("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        bind(*first.getsockname())
