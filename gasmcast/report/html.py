"""Render report pages from jinja2 templates.

A page needs no other file, no script and no network: the style sheet is inlined and pictures are
data URIs. Templates escape every value, so callers pass plain text. Tables are described by
`Table`, whose cells may be text, numbers, `Share` or `ShareBar`; `templates/macros.html.j2` turns
them into markup.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from gasmcast.report.percent import percent, percent_interval

__all__ = ["Share", "ShareBar", "Table", "bar_table", "data_uri", "render"]


@dataclass(frozen=True)
class Share:
    """Table cell that shows a share in percent."""

    value: float
    """Share 0..1."""
    interval: Sequence[float] | None = None
    """Low and high bound as shares, shown in small print."""
    passed: bool | None = None
    """Whether the share reaches its target, shown by color; None for a share without target."""


@dataclass(frozen=True)
class ShareBar:
    """Table cell that shows a share as a horizontal bar."""

    value: float
    """Share 0..1 of the cell's width."""
    marked: bool = False
    """Whether the bar is highlighted."""


@dataclass(frozen=True)
class Table:
    """Table of a page.

    A cell that is `True` reads "ok", `False` reads "fails", and None is empty.

    Raises:
        ValueError: a row is longer or shorter than the head.
    """

    head: Sequence[str]
    """Column titles."""
    rows: Sequence[Sequence[object]]
    """Cells of each row."""
    numbers: Collection[int] = ()
    """Indices of right-aligned columns."""

    def __post_init__(self) -> None:
        # A short row would silently shift its cells to other columns.
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"A row has {len(row)} cells, the table {len(self.head)} columns.")


def bar_table(
    head: tuple[str, str],
    rows: Sequence[tuple[str, float]],
    unit: str = "",
    *,
    marks: Sequence[bool] = (),
    log: bool = False,
) -> Table:
    """Return a table of names, bars and values, the first row on top.

    Args:
        head: titles of the names and of the values.
        rows: name and value of each bar; zero and infinite values get a bar of minimal length.
        unit: written behind each value.
        marks: whether each bar is highlighted; missing entries are not.
        log: make lengths proportional to the logarithm of the values.
    """
    # Lengths are relative to the largest value that has one.
    positive = [value for _, value in rows if math.isfinite(value) and value > 0]
    high, low = max(positive, default=1.0), min(positive, default=1.0)

    cells = []
    for i, (name, value) in enumerate(rows):
        share = 0.0
        if math.isfinite(value) and value > 0:
            share = value / high
            if log and high > low:
                # The offset keeps the bar of the smallest value visible.
                share = (math.log(value / low) + 0.3) / (math.log(high / low) + 0.3)
        bar = ShareBar(share, marked=i < len(marks) and marks[i])
        cells.append((name, bar, f"{value:.3g} {unit}".strip()))
    return Table((head[0], "", head[1]), cells, numbers=(2,))


def render(template: str, **context: object) -> str:
    """Return the page that a template makes of `context`.

    Args:
        template: name of a template of `gasmcast/report/templates`, such as `demo.html.j2`.
        **context: the template's variables; a variable that is missing is an error.
    """
    return _environment().get_template(template).render(context)


def data_uri(content: bytes, kind: Literal["png", "jpeg", "mp4", "svg+xml"]) -> str:
    """Return a picture or video file as a data URI.

    Args:
        content: bytes of the PNG, JPEG, MP4 or SVG file.
        kind: its format.
    """
    media = "video" if kind == "mp4" else "image"
    return f"data:{media}/{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gasmcast.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, percent_interval=percent_interval)

    # The macros choose a cell's markup by its type.
    environment.tests["share"] = lambda cell: isinstance(cell, Share)
    environment.tests["share_bar"] = lambda cell: isinstance(cell, ShareBar)
    return environment
