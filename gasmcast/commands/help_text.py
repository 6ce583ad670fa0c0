"""Text of `--help` from a docstring: paragraphs flow to the width of the terminal."""

from __future__ import annotations

import inspect
import re

__all__ = ["flow_paragraphs"]


def flow_paragraphs(docstring: str) -> str:
    """Return a docstring with one line for each paragraph; indented blocks keep their lines.

    Typer joins the lines of the first paragraph only.
    """
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
    return "\n\n".join(text if "\n " in text else text.replace("\n", " ") for text in paragraphs)
