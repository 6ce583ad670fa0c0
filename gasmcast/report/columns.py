"""Choose the columns of a table that fit the width of a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["fitting_columns"]

_FRAME_WIDTH = 3
"""Characters that a column costs beside its content: a border and two spaces."""


def fitting_columns(
    rows: Sequence[Mapping[str, str]], importance: Sequence[str], width: int
) -> list[str]:
    """Return the columns that fit side by side without a cell that is cut.

    A column that does not fit is left out, and so are all that are less important than it: the
    columns of a table must not depend on the length of an unimportant one.

    Args:
        rows: text of each cell by the name of its column; the first row has all columns, in order.
        importance: names of columns, the most important first; the first is always returned.
        width: characters of the terminal.

    Returns:
        Names in the order of the first row.
    """
    left = width - 1
    shown: set[str] = set()
    for name in importance:
        if name not in rows[0]:
            continue
        widest = max(len(name), *(len(row.get(name, "")) for row in rows))
        left -= widest + _FRAME_WIDTH
        if left < 0 and shown:
            break
        shown.add(name)
    return [name for name in rows[0] if name in shown]
