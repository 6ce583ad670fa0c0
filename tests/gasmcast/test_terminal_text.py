"""Characters that a terminal obeys are written out."""

from __future__ import annotations

import time

import pytest

from gasmcast.terminal_text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Pushing [something] from left to right", "Pushing [something] from left to right"),
        ("倒す ü é", "倒す ü é"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x07\x08\x7f\x00", r"\x07\x08\x7f\x00"),
        ("a\nb\rc\td", r"a\x0ab\x0dc\x09d"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("a\u202eb\u2066c\u2028d", r"a\u202eb\u2066c\u2028d"),
        ("caf\udce9.mp4", r"caf\udce9.mp4"),
    ],
)
def test_only_what_is_no_letter_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode().decode().isprintable()


def test_line_breaks_may_stay() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_a_long_label_is_fast() -> None:
    started = time.monotonic()
    printable("a\x1b" * 500_000)
    assert time.monotonic() - started < 10
