"""Tables, figures and the frame of every page, rendered as pages render them."""

from __future__ import annotations

import base64
import re

import pytest

from gasmcast.report.html import (
    Share,
    ShareBar,
    Table,
    _environment,
    bar_table,
    data_uri,
    render,
)
from gasmcast.report.percent import percent, percent_interval


def macro(name: str, *values: object) -> str:
    """The markup of one macro, without white space between its tags."""
    macros = _environment().get_template("macros.html.j2").module
    return re.sub(r">\s+<", "><", str(getattr(macros, name)(*values)).strip())


def test_a_document_escapes_its_title_and_needs_nothing_else() -> None:
    page = render("base.html.j2", title="a < b")
    assert page.startswith("<!doctype html>")
    assert "<title>a &lt; b</title>" in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "color-scheme: light dark" in page
    assert "@media print" in page
    assert "<script" not in page
    assert "http" not in page


def test_a_table_marks_its_columns_of_numbers_and_escapes_its_cells() -> None:
    made = macro("table", Table(("a & b", "n"), [("<b>x</b>", 1)], (1,)))
    assert made == (
        '<div class="table" role="group" tabindex="0" aria-label="table"><table>'
        '<tr><th scope="col">a &amp; b</th><th scope="col" class="number">n</th></tr>'
        '<tr><td>&lt;b&gt;x&lt;/b&gt;</td><td class="number">1</td></tr></table></div>'
    )
    with pytest.raises(ValueError, match="1 cells, the table 2"):
        Table(("a", "b"), [("1",)])


def test_shares_and_their_intervals() -> None:
    assert percent(0.9134) == "91.3 %"
    assert percent_interval((0.9, 0.925)) == "[90.0, 92.5]"
    assert macro("percent", 0.9134) == "91.3 %"
    assert macro("percent", 0.9134, (0.9, 0.925)) == "91.3 % <small>[90.0, 92.5]</small>"
    assert macro("cell", Share(0.5)) == "50.0 %"
    assert macro("cell", Share(0.5, passed=True)) == '<span class="good">50.0 %</span>'
    assert macro("cell", Share(0.5, passed=False)) == '<span class="bad">50.0 %</span>'
    assert macro("cell", ShareBar(0.25)) == '<div class="share-bar" style="width:25.0%"></div>'


def test_a_picture_is_inside_the_page() -> None:
    content = base64.b64encode(b"png").decode()
    assert macro("figure", data_uri(b"png", "png"), '"quoted"') == (
        f'<figure><img alt="&#34;quoted&#34;" src="data:image/png;base64,{content}"></figure>'
    )


def test_bars_bear_zeros_and_infinities() -> None:
    rows = [("a", 1.0), ("b", 100.0), ("c", float("inf")), ("d", 0.0)]
    table = bar_table(("name", "value"), rows, "ms", marks=[True], log=True)
    bars = [row[1] for row in table.rows]
    assert [bar.marked for bar in bars] == [True, False, False, False]
    assert 0 < bars[0].value < bars[1].value == 1.0
    assert [bar.value for bar in bars[2:]] == [0.0, 0.0]
    assert [row[2] for row in table.rows] == ["1 ms", "100 ms", "inf ms", "0 ms"]
    assert 'class="share-bar marked"' in macro("table", table)
    assert bar_table(("name", "value"), [("a", 0.0)]).rows[0][1] == ShareBar(0.0)


def test_cells() -> None:
    assert "ok" in macro("cell", True)
    assert "fails" in macro("cell", False)
    assert macro("cell", None) == ""
    assert macro("cell", "<&>") == "&lt;&amp;&gt;"


def test_a_variable_that_is_missing_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("base.html.j2")
