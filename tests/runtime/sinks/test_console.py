from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from rich.console import Console

from gasmcast.errors import MachineError
from gasmcast.runtime.records import Notice
from gasmcast.runtime.sinks import window
from gasmcast.runtime.sinks.console import ConsoleSink
from gasmcast.runtime.sinks.draw import Overlay
from gasmcast.runtime.sinks.window import WindowSink, tiles


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


def test_a_window_is_there_before_the_first_picture(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window, "_window_opens", lambda: True)
    shown, waited = [], []
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda wait_ms: waited.append(wait_ms) or -1)
    sink = WindowSink()
    assert sink.pump()
    assert sink.pump()
    assert [picture.max() for picture in shown] == [0]  # once, black
    sink.frame("front", 0.0, np.full((90, 160, 3), 200, np.uint8))
    assert sink.pump()
    assert shown[-1].max() > 0
    assert waited == [20, 20, 20]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_pictures_of_any_size_beside_each_other(count):
    pictures = {
        f"cam{i}": (0.0, np.full((100 + 7 * i, 300 - 9 * i, 3), 90 + 3 * i, np.uint8))
        for i in range(count)
    }
    shown = tiles(pictures, {name: Overlay() for name in pictures})
    assert shown.shape == (720, 1280, 3)
    assert {90 + 3 * i for i in range(count)} <= set(np.unique(shown).tolist())


def test_each_of_several_tiles_has_the_name_of_its_camera_and_one_alone_has_none():
    gray = np.full((90, 160, 3), 90, np.uint8)
    named = tiles(
        {"yard": (0.0, gray), "door": (0.0, gray)}, {"yard": Overlay(), "door": Overlay()}
    )
    # Only the name is drawn at the top, in white on the darkened picture; the two differ.
    left, right = named[180:220, :640], named[180:220, 640:]
    assert left.max() > 200
    assert right.max() > 200
    assert (left != right).any()
    alone = tiles({"yard": (0.0, gray)}, {"yard": Overlay()})
    assert (alone[:300] == 90).all()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 140, 200])
def test_camera_and_action_can_be_read_at_every_width(make, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    sink = ConsoleSink(console)
    label = "Pretending to put something on a surface"
    sink.write(make.decision(12.5, camera="court_long", label=label))
    sink.write(make.stats(camera="court_long"))
    text = render(sink, width)
    assert max(map(len, text.splitlines())) <= width
    if width >= 60:
        assert "court_long" in text
        assert label[:26] in text
    headings = text.splitlines()[1].replace("┃", " ").split()
    assert (
        headings
        == {
            30: ["camera", "action"],
            40: ["camera", "action"],
            60: ["camera", "action", "p"],
            80: ["camera", "state", "action", "p"],
            100: ["camera", "state", "time", "action", "p", "events"],
            140: ["camera", "state", "time", "action", "p", "events", "fps", "drops", "ms"],
            200: ["camera", "state", "time", "action", "p", "events", "fps", "drops", "ms"],
        }[width]
    )


def test_the_last_events_stand_below_the_table(make):
    out = io.StringIO()
    sink = ConsoleSink(Console(file=out, width=80, force_terminal=True))
    for number in range(1, 9):
        sink.write(make.event("start", number, label=f"Action {number}"))
        if number < 8:
            sink.write(make.event("end", number, label=f"Action {number}"))
    sink.close()
    below = out.getvalue().rsplit("┘", 1)[1].splitlines()[1:]
    assert [line.split("Action ")[1][0] for line in below if "Action" in line] == list("87654")
    assert "now" in below[0]
    assert "0.5 s" in below[1]


def test_labels_cannot_command_the_terminal_nor_forge_a_line(make):
    """ESC clears the screen or writes the clipboard; a newline looks like another camera."""
    evil = "\x1b]52;c;aGk=\x07Push\n     1.00 s  door  safe\x9b2J\u202e"
    for terminal in (False, True):
        out = io.StringIO()
        sink = ConsoleSink(Console(file=out, width=140, force_terminal=terminal))
        sink.write(make.decision(camera="a\x1b[2J", label=evil))
        sink.write(make.event(camera="a\x1b[2J", label=evil))
        sink.write(make.notice(evil))
        sink.close()
        shown = out.getvalue()
        for bad in ("\x1b]52", "\x07", "\x9b", "\u202e", "\x1b[2J"):
            assert bad not in shown.replace("\x1b[2K", "")
        if not terminal:
            assert len(shown.splitlines()) == 3
            assert r"\x1b]52;c;aGk=\x07Push\x0a" in shown


def render(sink, width):
    out = io.StringIO()
    Console(file=out, width=width).print(sink.table())
    return out.getvalue()
