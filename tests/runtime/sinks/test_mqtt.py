"""The MQTT sink with a real mosquitto, on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace

import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.service.backoff import Backoff
from gasmcast.runtime.sinks.queue import QueuedSink

mqtt = pytest.importorskip(
    "paho.mqtt.client", reason="paho-mqtt is not installed (pip install 'gasmcast[mqtt]')"
)
from gasmcast.runtime.sinks.mqtt import MqttSink  # noqa: E402

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Broker:
    def __init__(self, folder, extra=""):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{extra or 'allow_anonymous true'}\n"
        )
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self):
        self.process.kill()
        self.process.wait()


class Subscriber:
    """Records every message below a topic."""

    def __init__(self, port, **login):
        self.got, self._lock, ready = [], threading.Lock(), threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if login:
            self.client.username_pw_set(**login)
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _u, m: self.got.append(
            (m.topic, m.payload.decode(), m.retain)
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(10)

    def topic(self, name):
        return [payload for topic, payload, _ in self.got if topic == name]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.02)


@pytest.fixture
def broker(tmp_path):
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (make debian)")
    one = Broker(tmp_path)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def subscriber(broker):
    one = Subscriber(broker.port)
    yield one
    one.close()


def connected(sink):
    until(sink._client.is_connected)
    return sink


def test_events_states_and_statistics_have_their_topics(broker, subscriber, make):
    sink = connected(MqttSink(f"mqtt://127.0.0.1:{broker.port}/house/box1"))
    assert [
        sink.wants(record)
        for record in (make.event(), make.stats(), make.decision(), make.notice())
    ] == [True, True, False, False]
    for record in (
        make.event(),
        make.event("end"),
        make.decision(),
        make.notice(),
        make.stats("stalled"),
    ):
        sink.write(record)
    sink.close()
    until(lambda: len(subscriber.got) >= 6)
    phases = [json.loads(text)["phase"] for text in subscriber.topic("house/box1/cam/action")]
    assert phases == ["start", "end"]
    assert subscriber.topic("house/box1/cam/status") == ["stalled"]
    assert json.loads(subscriber.topic("house/box1/cam/stats")[0])["drops"] == {"late": 2}
    assert subscriber.topic("house/box1/available") == ["online", "offline"]


def test_a_camera_that_was_removed_is_offline_also_for_who_comes_later(broker, make):
    sink = connected(MqttSink(f"mqtt://127.0.0.1:{broker.port}/g"))
    sink.write(make.stats())
    both = make.stats()
    sink.write(replace(both, cameras=(*both.cameras, replace(both.cameras[0], camera="guest"))))
    for _ in range(2):
        sink.write(make.stats())
    late = Subscriber(broker.port)
    until(lambda: len([topic for topic, _, _ in late.got if topic.endswith("/status")]) == 2)
    assert (late.topic("g/cam/status"), late.topic("g/guest/status")) == (["online"], ["offline"])
    sink.close()
    late.close()


def test_the_broker_itself_tells_of_a_process_that_died(broker, subscriber):
    import sys

    script = f"""
import time
from gasmcast.runtime.sinks.mqtt import MqttSink
sink = MqttSink("mqtt://127.0.0.1:{broker.port}")
while not sink._client.is_connected(): time.sleep(0.01)
time.sleep(0.3)
import os; os._exit(1)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
    until(lambda: len(subscriber.topic("gasmcast/available")) >= 2)
    assert subscriber.topic("gasmcast/available") == ["online", "offline"]


def test_no_event_is_lost_while_the_broker_is_away(broker, make):
    queued = QueuedSink(
        "mqtt", lambda: MqttSink(f"mqtt://127.0.0.1:{broker.port}/g"), backoff=Backoff(0.05, 0.2)
    )
    connected(queued._sink)
    queued.write(make.event("start", 1))
    until(lambda: queued.stats()["written"] == 1)
    broker.stop()
    until(lambda: not queued._sink._client.is_connected())
    queued.write(make.event("end", 1))
    queued.write(make.event("start", 2))
    until(lambda: queued.trouble)
    assert "not connected (the connection was lost)" in queued.trouble
    broker.start()
    late = Subscriber(broker.port)
    queued.write(make.event("end", 2))
    until(lambda: queued.stats()["written"] == 4)
    queued.close()
    late.close()
    got = [
        (json.loads(text)["phase"], json.loads(text)["number"])
        for text in late.topic("g/cam/action")
    ]
    assert got == [("end", 1), ("start", 2), ("end", 2)]


def test_name_and_password_come_from_the_environment_and_a_wrong_one_is_named(
    tmp_path, make, monkeypatch
):
    if MOSQUITTO is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto is not installed (make debian)")
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(
        ["mosquitto_passwd", "-b", passwords, "box", "s3cr/et@"], check=True, capture_output=True
    )
    tmp_path.chmod(0o755)
    broker = Broker(tmp_path, f"user root\nallow_anonymous false\npassword_file {passwords}")
    broker.start()
    try:
        monkeypatch.setenv("MQTT_PASS", "s3cr/et@")
        sink = connected(MqttSink(f"mqtt://box:${{MQTT_PASS}}@127.0.0.1:{broker.port}"))
        sink.write(make.event())
        sink.close()
        monkeypatch.setenv("MQTT_PASS", "wrong-one")
        sink = MqttSink(f"mqtt://box:${{MQTT_PASS}}@127.0.0.1:{broker.port}")
        until(lambda: sink._reason != "not connected yet")
        with pytest.raises(MachineError, match="not authori") as error:
            sink.write(make.event())
        assert "wrong-one" not in str(error.value)
        sink.close()
    finally:
        broker.stop()


@pytest.mark.parametrize(
    "url", ["http://h/x", "mqtt://", "mqtt://h:99999", "h:1883", "mqtt://h/a/#"]
)
def test_wrong_addresses(url):
    with pytest.raises(UsageError):
        MqttSink(url)
