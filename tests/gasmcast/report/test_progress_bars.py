"""Bars of progress on standard error."""

from __future__ import annotations

import pytest

from gasmcast.progress import silent
from gasmcast.report.progress_bars import progress_bars


def test_quiet_work_reports_nothing() -> None:
    with progress_bars(quiet=True) as progress:
        assert progress is silent


def test_nothing_is_drawn_before_the_first_report(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="early"), progress_bars():
        raise ValueError("early")
    assert capsys.readouterr() == ("", "")


def test_stages_of_known_and_unknown_length(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("tracing")
        for done in range(3):
            progress("reading", done + 1, 3)
    assert capsys.readouterr().out == ""  # it may be data that another program reads
