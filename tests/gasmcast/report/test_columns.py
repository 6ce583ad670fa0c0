"""Columns that fit a terminal."""

from __future__ import annotations

import pytest

from gasmcast.report.columns import fitting_columns

ROWS = [{"name": "abcdef", "a": "1", "b": "22222", "c": "3"}, {"name": "x", "a": "1234"}]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (5, ["name"]),
        (10, ["name"]),
        (17, ["name", "a"]),
        (25, ["name", "a", "b"]),
        (29, ["name", "a", "b", "c"]),
    ],
)
def test_the_important_ones_come_first_in_the_order_of_the_table(
    width: int, shown: list[str]
) -> None:
    assert fitting_columns(ROWS, ("name", "a", "b", "c"), width) == shown


def test_names_that_the_table_lacks_are_passed_over() -> None:
    assert fitting_columns(ROWS, ("GPU", "c", "name"), 14) == ["name", "c"]
