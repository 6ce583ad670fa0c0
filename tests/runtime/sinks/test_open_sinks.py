from __future__ import annotations

import pytest

from gasmcast.runtime.sinks.open_sinks import build_sinks


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("https://h/hook?access_token=hunter2", True),
        ("https://h/hook?access_token=${HOOK_TOKEN}", False),
        ("https://h/hook/3?room=a", False),
    ],
)
def test_a_secret_written_out_in_the_address_of_a_sink_is_warned_of(
    url, warns, caplog, monkeypatch
):
    monkeypatch.setenv("HOOK_TOKEN", "hunter2")
    for sink in build_sinks(webhook=url):
        sink.close()
    assert ("`ps` shows it" in caplog.text) == warns
    assert "hunter2" not in caplog.text


def test_so_is_the_password_of_a_broker(caplog):
    pytest.importorskip(
        "paho.mqtt.client", reason="paho-mqtt is not installed (pip install 'gasmcast[mqtt]')"
    )
    for sink in build_sinks(mqtt="mqtt://box:hunter2@127.0.0.1:9/g"):
        sink.close()
    assert "mqtt://***@127.0.0.1:9/g: its password stands on the command line" in caplog.text
    assert "hunter2" not in caplog.text
