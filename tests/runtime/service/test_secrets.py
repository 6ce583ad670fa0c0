from __future__ import annotations

import io
import logging
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gasmcast.errors import UsageError
from gasmcast.runtime.service import secrets as module
from gasmcast.runtime.service.secrets import (
    RedactFilter,
    fill_secrets,
    hide,
    redact,
    redact_tree,
)
from gasmcast.runtime.sources.open_sources import open_sources


def open_source(text, **settings):
    ((_, source),) = open_sources([text], **settings)
    return source


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(module, "_secrets", set())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:hunter2@10.0.0.5:554/a", "rtsp://***@10.0.0.5:554/a"),
        ("rtsp://ad.min:p@ss/w?rd#1@host/a", "rtsp://***@host/a"),
        ("http://h/v?user=admin&password=hunter2", "http://h/v?***"),
        ("rtsp://u@h/x failed; http://a:b@c/d too", "rtsp://***@h/x failed; http://***@c/d too"),
        ("Authorization: Basic aHVudGVyMg==", "Authorization: ***"),
        ("http://h/v", "http://h/v"),
        ("a plain sentence, user@example.org", "a plain sentence, user@example.org"),
        ("rtsp:/u:pw@h and u:pw@h", "rtsp:/***@h and ***@h"),
        ("'http://a/x?k=1','http://b/y?'", "'http://a/x?***','http://b/y?'"),
        ("1http://u:p@h 12:30 C:/a:b", "1http://***@h 12:30 C:/a:b"),
        ("rtsp://admin:my pass word@h/x is no", "rtsp://***@h/x is no"),
        ("rtsp://h:554/live failed, ask a@b", "rtsp://h:554/live failed, ask a@b"),
    ],
)
def test_urls(text, shown):
    assert redact(text) == shown


def test_a_secret_from_the_environment_is_percent_encoded_and_hidden_everywhere():
    url = fill_secrets("rtsp://u:${CAM_PASS}@h/x", {"CAM_PASS": "p@ss w/rd"})
    assert url == "rtsp://u:p%40ss%20w%2Frd@h/x"
    for text in ("the password p@ss w/rd was refused", "p%40ss%20w%2Frd", f"opening {url}"):
        assert not any(part in redact(text) for part in ("p@ss", "w/rd", "p%40", "%2Frd"))


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a://" * 50_000,
        "a://b?" * 30_000,
        "@:" * 100_000,
        "a://b:" * 30_000,
        "'a://b?c" * 20_000,
    ],
)
def test_time_is_linear_in_the_length_of_a_text(text):
    """A label of 100 kB held the interpreter for seconds."""
    hide("hunter2")
    begun = time.perf_counter()
    redact(text)
    assert time.perf_counter() - begun < 2.0


@pytest.mark.parametrize("secret", ["2026", "start", "live"])
def test_a_short_password_is_hidden_in_urls_alone(secret):
    hide(secret)
    assert redact(f"{secret} is live") == f"{secret} is live"
    assert secret not in redact(f"rtsp://u:{secret}@h/x")


def test_only_texts_from_outside_are_redacted_in_records():
    hide("something")
    record = {
        "kind": "notice",
        "camera": "something",
        "label": "Pushing something",
        "top": [["Pushing something", 0.5]],
        "text": "something was refused",
        "sinks": {"something": {"written": 1}},
    }
    assert redact_tree(record) == {**record, "text": "*** was refused"}


def test_a_variable_that_is_not_set_is_named():
    with pytest.raises(UsageError, match="CAM_PASS"):
        fill_secrets("rtsp://u:${CAM_PASS}@h/x", {})


def test_log_lines_and_tracebacks():
    hide("hunter2")
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactFilter())
    log = logging.getLogger("test_redact")
    log.addHandler(handler)
    log.warning("opening %s with %s", "rtsp://a:b@c", "hunter2")
    try:
        int("hunter2")
    except ValueError:
        log.exception("broken")
    log.removeHandler(handler)
    assert "hunter2" not in out.getvalue()
    assert "a:b" not in out.getvalue()
    assert "ValueError: invalid literal for int() with base 10: '***'" in out.getvalue()


def test_gasmcast_live_protects_the_log_before_anything_else(monkeypatch, caplog):
    from gasmcast.cli import main

    monkeypatch.setattr(sys, "argv", ["gasmcast", "live", "none.mp4", "--bundle", "none"])
    with pytest.raises(SystemExit):
        main()
    try:
        int("rtsp://u:hunter2@h/x")
    except ValueError:
        logging.getLogger("gasmcast.runtime.sources.camera").exception("camera x: unexpected error")
    assert "ValueError: invalid literal for int() with base 10: 'rtsp://***@h/x'" in caplog.text
    assert "hunter2" not in caplog.text
    assert any(
        isinstance(known, RedactFilter) for known in logging.lastResort.filters
    )  # the handler of a process without handlers


@given(
    st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=3, max_size=20)
)
def test_no_password_survives_in_a_url(password):
    assert f":{password}@" not in redact(f"opening rtsp://user:{password}@camera.example/stream")


def test_the_error_of_a_camera_does_not_name_its_password(monkeypatch):
    monkeypatch.setenv("CAM_PASS", "hunter2")
    source = open_source("rtsp://admin:${CAM_PASS}@127.0.0.1:9/x")
    with pytest.raises(Exception, match="nothing answers") as error:
        next(source.frames())
    assert "hunter2" not in str(error.value)
    assert "admin" not in str(error.value)
