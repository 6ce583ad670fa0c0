"""Pieces of a page that stands alone: tables, figures and pictures as HTML that needs no other file, no script and no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["document", "image", "percent", "table"]


def document(title: str, style: str, body: str) -> str:
    """The whole page; `style` is CSS, `body` is HTML already."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table; cells are HTML already, those of the columns `numbers` have the class `n`."""
    kinds = [' class="n"' if column in numbers else "" for column in range(len(head))]
    top = "".join(f"<th{kind}>{escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def percent(share: float, interval: tuple[float, float] | None = None) -> str:
    """A share in percent, with its interval in small print."""
    spread = (
        f" <small>[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]</small>" if interval else ""
    )
    return f"{100 * share:.1f} %{spread}"


def image(content: bytes, kind: str, alt: str) -> str:
    """A picture inside the page; `content` is a file of `kind`, `png` or `jpeg`."""
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'
