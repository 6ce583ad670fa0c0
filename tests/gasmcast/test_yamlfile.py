"""YAML files from outside: plain data, or one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.errors import UsageError
from gasmcast.yamlfile import parse_yaml


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: !!int x", "invalid literal"),
        ("a: !!timestamp x", "is not YAML"),
        ("a: !!float x", "is not YAML"),
        ("a: !!bool x", "is not YAML"),
        ("a: !!binary ü", "is not YAML"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: " + "9" * 5000, "is not YAML"),
        ("[" * 5000, "nested too deeply"),
        ('a: "\\ud800"', "a text in line 1 is not Unicode"),
        ("cameras: [1]\nother: 2\ncameras: [3]", "'cameras' is there twice, again in line 3"),
        ("- {name: a, name: b}", "'name' is there twice"),
        ("a: *b", "undefined alias"),
        ("? [1]\n: 2", "unhashable"),
    ],
)
def test_whatever_the_parser_raises_is_one_sentence(text, says):
    with pytest.raises(UsageError, match=r"^x\.yaml is not YAML") as caught:
        parse_yaml(text, "x.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dates_and_words_are_texts():
    tree = parse_yaml("{a: 2024-02-30, b: 2024-03-01, c: on, d: true, 2024-13-01: e}", "x")
    assert tree == {"a": "2024-02-30", "b": "2024-03-01", "c": "on", "d": True, "2024-13-01": "e"}


def test_merged_keys_may_be_replaced():
    text = "base: &b {x: 1, y: 2}\nnew: {<<: *b, x: 3}"
    assert parse_yaml(text, "x")["new"] == {"x": 3, "y": 2}


# fmt: off
FRAGMENTS = st.sampled_from([
    "a", ": ", "\n", "- ", "[", "]", "{", "}", ", ", "&a ", "*a", "!!", "int ", "timestamp ", "'",
    '"', "\\", "2024-02-30", "9" * 30, "<<", "? ", "| ", "#", "%", "\t", "\x00", "\ufeff", "é",
])
# fmt: on


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.lists(FRAGMENTS, max_size=25).map("".join)))
def test_no_content_is_a_traceback(content):
    refusal = ""
    try:
        parse_yaml(content, "x")
    except UsageError as error:
        refusal = str(error)
    assert "\n" not in refusal
