"""Python code on the pages parses, and calls the public API with arguments that it has."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import gasmcast

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [
    page
    for folder in ("docs", "docs/concepts", "docs/howto")
    for page in sorted((ROOT / folder).glob("*.md"))
]
BLOCKS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_call_what_exists(code):
    """The signature refuses, with a TypeError, arguments that a function does not take."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "gasmcast":
            signature = inspect.signature(getattr(gasmcast, node.func.attr))
            keywords = {keyword.arg: None for keyword in node.keywords}
            signature.bind(*[None] * len(node.args), **keywords)


def test_there_are_blocks_to_check():
    assert len(BLOCKS) >= 6
