from __future__ import annotations

import base64

import pytest

from gasmcast.report.html import document, image, percent, table


def test_a_document_escapes_its_title_and_keeps_its_body() -> None:
    page = document("a < b", "p{color:red}", "<p>c</p>")
    assert page.startswith("<!doctype html>")
    assert "<title>a &lt; b</title><style>p{color:red}</style>" in page
    assert page.endswith("<body><p>c</p></body></html>")


def test_a_table_marks_its_columns_of_numbers_and_leaves_cells_alone() -> None:
    made = table(("a & b", "n"), [("<b>x</b>", "1")], (1,))
    assert (
        made
        == '<table><tr><th>a &amp; b</th><th class="n">n</th></tr><tr><td><b>x</b></td><td class="n">1</td></tr></table>'
    )
    with pytest.raises(ValueError, match="shorter"):
        table(("a", "b"), [("1",)])


def test_shares_and_their_intervals() -> None:
    assert percent(0.9134) == "91.3 %"
    assert percent(0.9134, (0.9, 0.925)) == "91.3 % <small>[90.0, 92.5]</small>"


def test_a_picture_is_inside_the_page() -> None:
    content = base64.b64encode(b"png").decode()
    assert (
        image(b"png", "png", '"quoted"')
        == f'<img alt="&quot;quoted&quot;" src="data:image/png;base64,{content}">'
    )
