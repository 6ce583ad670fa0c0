"""Markdown that is written by programs: tables, inline code, escaping."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence

__all__ = ["code", "escape", "first_paragraph", "page", "plain", "table"]


def page(*parts: str) -> str:
    """Return the parts as paragraphs, each part's own line breaks kept."""
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    """Return a Markdown table; cells are escaped and reduced to one line."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [" ".join(escape(cell or "").split()) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def escape(text: str) -> str:
    """Escape what Markdown would read as a table border, HTML or emphasis outside inline code."""
    parts = re.split(r"(`[^`]*`)", text)

    # Every second part is inline code, in which only the table border matters.
    for i in range(0, len(parts), 2):
        parts[i] = parts[i].replace("<", "&lt;").replace("[", "&#91;")
        parts[i] = re.sub(r"(?<!\\)([_*])", r"\\\1", parts[i])
    return re.sub(r"(?<!\\)\|", r"\\|", "".join(parts))


def code(text: object) -> str:
    """Return inline code, or nothing for an empty text."""
    return f"`{text}`" if str(text) else ""


def plain(value: object) -> str:
    """Return a value as YAML would write it in one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(plain(one) for one in value) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def first_paragraph(item: object) -> str:
    """Return the first paragraph of a docstring in one line."""
    return inspect.cleandoc(item.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
