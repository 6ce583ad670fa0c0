"""Render report pages from jinja2 templates.

A page needs no other file, no script and no network: the style sheet is inlined and pictures are
data URIs. Templates escape every value, so callers pass plain text. Tables are described by
`Table`, whose cells may be text, numbers, `Share` or `ShareBar`; `templates/macros.html.j2` turns
them into markup.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from gasmcast.report.percent import percent, percent_interval

__all__ = ["Share", "ShareBar", "Table", "data_uri", "render"]


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


def render(template: str, **context: object) -> str:
    """Return the page that a template makes of `context`.

    Args:
        template: name of a template of `gasmcast/report/templates`, such as `demo.html.j2`.
        **context: the template's variables; a variable that is missing is an error.
    """
    return _environment().get_template(template).render(context)


def data_uri(content: bytes, kind: Literal["png", "jpeg"]) -> str:
    """Return a picture file as a data URI.

    Args:
        content: bytes of the PNG or JPEG file.
        kind: its format.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


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
