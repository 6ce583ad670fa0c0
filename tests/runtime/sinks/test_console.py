from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from gasmcast.errors import MachineError
from gasmcast.runtime.records import Notice
from gasmcast.runtime.sinks.console import ConsoleSink
from gasmcast.runtime.sinks.window import WindowSink, mosaic


def test_plain_lines_where_nobody_watches(make):
    out = io.StringIO()
    sink = ConsoleSink(Console(file=out, width=60))
    sink.write(make.decision(1.5, label="Moving [something] up"))
    sink.write(make.event())
    sink.write(make.event("update"))
    sink.write(make.event("end"))
    sink.write(make.notice("rtsp://u:secret@h/x is gone"))
    sink.write(Notice("", 0.0, 0.0, "degrade", "Too slow: a decision every second hop."))
    sink.write(make.stats())
    sink.close()
    assert out.getvalue().splitlines() == [
        "     1.50 s  cam  Moving [something] up  0.90",
        "     2.00 s  cam  >>> Pushing  0.90",
        "     2.00 s  cam  <<< Pushing  0.90, 0.5 s",
        "     1.00 s  cam  rtsp://***@h/x is gone",
        "Too slow: a decision every second hop.",
    ]


def test_a_row_a_camera_on_a_terminal(make):
    out = io.StringIO()
    sink = ConsoleSink(Console(file=out, width=140, force_terminal=True))
    sink.write(make.stats("reconnecting", camera="hall"))
    sink.write(make.notice("nothing answers at 10.0.0.7:554", camera="hall"))
    sink.write(make.decision(7.5, camera="door", label="Holding [x]"))
    sink.write(make.event(camera="door"))
    sink.write(Notice("", 0.0, 0.0, "degrade", "Too slow: a decision every second hop."))
    sink.close()
    assert "Too slow: a decision every second hop." in out.getvalue(), (
        "what holds for all cameras stays above the table"
    )
    last = out.getvalue().rsplit("camera", 1)[1]
    for text in (
        "door",
        "Holding [x]",
        "0.90",
        "7.5 s",
        "live",
        "hall",
        "reconnecting",
        "nothing answers",
        "42",
    ):
        assert text in last


def test_nothing_to_show_leaves_the_terminal_alone():
    out = io.StringIO()
    ConsoleSink(Console(file=out, width=140, force_terminal=True)).close()
    assert out.getvalue() == ""


def test_no_screen_is_one_sentence(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(MachineError, match="this session has none"):
        WindowSink()


@pytest.mark.slow
def test_a_screen_that_is_named_but_not_there_is_one_sentence_not_the_end_of_the_process(
    monkeypatch,
):
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(MachineError, match="cannot open a window"):
        WindowSink()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_pictures_of_any_size_beside_each_other(count):
    pictures = [np.full((100 + 7 * i, 300 - 9 * i, 3), 50 + i, np.uint8) for i in range(count)]
    shown = mosaic(pictures)
    assert shown.shape[2] == 3
    assert set(range(50, 50 + count)) <= set(np.unique(shown).tolist())
