"""Refused clients in the log: one warning per cause and minute."""

from __future__ import annotations

import logging

import pytest

from gasmcast.runtime.http.refusal_log import RefusalLog


def test_one_warning_per_cause_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    refused = RefusalLog(logging.getLogger("web"), clock=lambda: now[0])
    for number in range(100):
        refused.note(f"a wrong token from 10.0.0.{number}", "a wrong token")
        refused.note("a page")
    assert caplog.messages == ["refused a wrong token from 10.0.0.0", "refused a page"]

    now[0] = 60.0
    refused.note("a page")
    assert caplog.messages[2:] == ["refused a page (99 more since the last warning)"]
    assert len(refused._logged_s) == 2
