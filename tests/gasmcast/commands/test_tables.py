"""Tables of `runs` and `eval` at the widths of common terminals."""

from __future__ import annotations

import importlib

import pytest

from gasmcast.training.logs.listing import HEAD

RUN = [
    "tennis",
    "best 12 of 60",
    "81.5",
    "97.0",
    "79.9",
    "78.2",
    "1.234",
    "17.12M",
    "123.4",
    "1.25",
]
LINES = [
    list(HEAD),
    [*RUN, "16081c12+"],
    ["a/very/long/path/of/a/run/that/nobody/would/write", "3 of 60, unfinished", *[""] * 9],
]


@pytest.fixture
def columns(monkeypatch):
    def set_width(width: int) -> None:
        monkeypatch.setenv("COLUMNS", str(width))

    return set_width


@pytest.mark.parametrize("width", [60, 80, 160])
def test_no_figure_of_a_run_is_folded(width: int, columns, capsys) -> None:
    columns(width)
    importlib.import_module("gasmcast.commands.runs")._print(LINES)
    text = capsys.readouterr().out
    table, _, _ = text.partition("A wider terminal")
    assert max(map(len, table.splitlines())) <= width
    assert "…" not in text
    for cell in ("tennis", "81.5", "top-1"):
        assert cell in text
    assert ("best 12 of 60" in text) == (width > 60)
    assert ("16081c12+" in text) == (width == 160)
    assert ("A wider terminal also shows" in text) == (width < 160)


@pytest.mark.parametrize("width", [80, 140])
def test_the_title_of_a_table_takes_the_width_of_the_terminal(width: int, columns, capsys) -> None:
    from rich.console import Console

    columns(width)
    eval_module = importlib.import_module("gasmcast.commands.eval")
    title = "checkpoint runs/tennis/best.safetensors on 14 clips, views 1x1"
    rows = [
        ("Pushing [something] from left to right so that it falls off the table", "3", "33.3 %")
    ]
    Console().print(
        eval_module._table(title, ("class", "clips", "accuracy"), rows, right=("clips",))
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == title
    assert max(map(len, lines)) <= width
    assert "[something]" in "".join(lines)
    assert "33.3 %" in "".join(lines)
