from __future__ import annotations

import io
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gasmcast.errors import UsageError
from gasmcast.runtime.service import secrets as module
from gasmcast.runtime.service.secrets import RedactFilter, fill_secrets, hide, redact
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
    ],
)
def test_urls(text, shown):
    assert redact(text) == shown


def test_a_secret_from_the_environment_is_percent_encoded_and_hidden_everywhere():
    url = fill_secrets("rtsp://u:${CAM_PASS}@h/x", {"CAM_PASS": "p@ss w/rd"})
    assert url == "rtsp://u:p%40ss%20w%2Frd@h/x"
    for text in ("the password p@ss w/rd was refused", "p%40ss%20w%2Frd", f"opening {url}"):
        assert not any(part in redact(text) for part in ("p@ss", "w/rd", "p%40", "%2Frd"))


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
