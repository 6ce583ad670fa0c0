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
    until(lambda: len(subscriber.got) >= 7)
    phases = [json.loads(text)["phase"] for text in subscriber.topic("house/box1/cam/action")]
    assert phases == ["start", "end"]
    assert subscriber.topic("house/box1/cam/status") == ["stalled", "offline"]
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


def with_cameras(stats, *names):
    return replace(stats, cameras=tuple(replace(stats.cameras[0], camera=name) for name in names))


@pytest.mark.parametrize("ending", ["closed", "killed"])
def test_a_camera_that_the_next_run_does_not_have_is_withdrawn(broker, make, ending):
    url = f"mqtt://127.0.0.1:{broker.port}/house/box1?discovery=homeassistant"
    first = connected(MqttSink(url))
    first.write(with_cameras(make.stats(), "cam", "old door"))
    if ending == "closed":
        first.close()
    else:
        first._client.loop_stop()
        first._client._sock_close()

    # Every camera is offline after an orderly end; a killed run leaves them online.
    watcher = Subscriber(broker.port)
    topics = ["house/box1/cam/status", "house/box1/old door/status"]
    until(lambda: all(watcher.topic(topic) for topic in topics))
    state = "offline" if ending == "closed" else "online"
    assert [watcher.topic(topic) for topic in topics] == [[state], [state]]

    # What the broker has retained may arrive after the first statistics.
    second = connected(MqttSink(url))
    until(lambda: [topic for topic, _, _ in watcher.got if topic.endswith("/config")])
    configs = [topic for topic, _, _ in watcher.got if topic.endswith("/config")]
    removed = {}

    def withdrawn():
        second.write(with_cameras(make.stats(), "cam"))
        entities = json.loads(watcher.topic(configs[0])[-1])["components"]
        removed.update({key: one for key, one in entities.items() if key.startswith("old_door")})
        return removed and all(set(one) == {"platform"} for one in removed.values())

    until(withdrawn)
    assert sorted(one["platform"] for one in removed.values()) == ["event", "sensor", "sensor"]
    until(lambda: watcher.topic(topics[1])[-1] == "offline")
    until(lambda: watcher.topic(topics[0])[-1] == "online")
    second.close()

    # A third run has nothing left to remove.
    third = connected(MqttSink(url))
    third.write(with_cameras(make.stats(), "cam"))
    late = Subscriber(broker.port)
    until(lambda: late.topic(configs[0]))
    until(lambda: late.topic(topics[1]))
    third.write(with_cameras(make.stats(), "cam"))
    third.close()
    assert late.topic(topics[1]) == ["offline"]
    watcher.close()
    late.close()


def test_another_box_below_the_same_prefix_keeps_its_cameras(broker, make):
    inner = connected(MqttSink(f"mqtt://127.0.0.1:{broker.port}/house/box1"))
    inner.write(make.stats())
    outer = connected(MqttSink(f"mqtt://127.0.0.1:{broker.port}/house"))
    for _ in range(3):
        outer.write(with_cameras(make.stats(), "hall"))
    late = Subscriber(broker.port)
    until(lambda: len([topic for topic, _, _ in late.got if topic.endswith("/status")]) == 2)
    assert late.topic("house/box1/cam/status") == ["online"]
    for one in (inner, outer, late):
        one.close()


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"[]", b"{}", b'{"components": 3}', b'{"components": {"a": 1}}'],
)
def test_a_description_that_is_none_is_ignored(payload):
    from gasmcast.runtime.sinks.home_assistant import HomeAssistant

    home = HomeAssistant("homeassistant", "gasmcast")
    home.remember(payload)
    assert home.config([])["components"] == {}


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


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://u:${MQTT_PASS}@h℀st/x",
        "mqtt://[box/x",
        "mqtt://u:${MQTT_PASS}@[box/x",
        "mqtt://u:${MQTT_PASS}@host:99999/x",
        "mqtt:/u:hunter2secret@host/x",
        "mqtt://u:hunter2 secret@" + "a" * 80 + "/x",
        "mqtt://u:hunter2secret@ho\nst/x",
    ],
)
def test_a_malformed_address_never_shows_its_secret(url, monkeypatch):
    monkeypatch.setenv("MQTT_PASS", "hunter2secret")
    with pytest.raises(UsageError) as error:
        MqttSink(url)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


# What Home Assistant's documentation requires of a device's description, and allows in it:
# https://www.home-assistant.io/integrations/mqtt (device discovery, event.mqtt, sensor.mqtt).
AVAILABILITY = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["topic"],
        "properties": {
            "topic": {"type": "string", "pattern": "^[^+#]+$"},
            "payload_available": {"type": "string"},
            "payload_not_available": {"type": "string"},
            "value_template": {"type": "string"},
        },
        "additionalProperties": False,
    },
}
ENTITY = {
    "unique_id": {"type": "string", "minLength": 1},
    "name": {"type": "string"},
    "icon": {"type": "string", "pattern": "^mdi:"},
    "availability": AVAILABILITY,
    "availability_mode": {"enum": ["all", "any", "latest"]},
    "state_topic": {"type": "string", "pattern": "^[^+#]+$"},
    "json_attributes_topic": {"type": "string", "pattern": "^[^+#]+$"},
    "value_template": {"type": "string"},
}
EVENT = {
    "type": "object",
    "required": ["platform", "unique_id", "state_topic", "event_types"],
    "properties": {
        **ENTITY,
        "platform": {"const": "event"},
        "event_types": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
    "additionalProperties": False,
}
SENSOR = {
    "type": "object",
    "required": ["platform", "unique_id", "state_topic"],
    "properties": {
        **ENTITY,
        "platform": {"const": "sensor"},
        "state_class": {"enum": ["measurement", "total", "total_increasing"]},
        "unit_of_measurement": {"type": "string"},
    },
    "additionalProperties": False,
}
REMOVED = {
    "type": "object",
    "required": ["platform"],
    "properties": {"platform": {"enum": ["event", "sensor"]}},
    "additionalProperties": False,
}
DEVICE_CONFIG = {
    "type": "object",
    "required": ["device", "origin", "components"],
    "properties": {
        "device": {
            "type": "object",
            "required": ["identifiers"],
            "properties": {
                "identifiers": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "name": {"type": "string"},
                "manufacturer": {"type": "string"},
                "model": {"type": "string"},
                "sw_version": {"type": "string"},
            },
            "additionalProperties": False,
        },
        "origin": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "sw_version": {"type": "string"},
                "support_url": {"type": "string", "pattern": "^https?://"},
            },
            "additionalProperties": False,
        },
        "components": {
            "type": "object",
            "patternProperties": {"^[a-zA-Z0-9_-]+$": {"oneOf": [EVENT, SENSOR, REMOVED]}},
            "additionalProperties": False,
        },
        "qos": {"enum": [0, 1, 2]},
    },
    "additionalProperties": False,
}


def template(text, payload):
    """Render a template as Home Assistant does: `value`, `value_json`, and its filter `to_json`."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["to_json"] = json.dumps
    try:
        value_json = json.loads(payload)
    except ValueError:
        value_json = None
    return environment.from_string(text).render(value=payload, value_json=value_json)


def test_home_assistant_finds_the_box_and_reads_its_entities(broker, make):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    url = f"mqtt://127.0.0.1:{broker.port}/house/box1?discovery=homeassistant"
    sink = connected(MqttSink(url))
    assert sink.wants(make.decision())
    for record in (make.stats(), make.decision(), make.decision(1.1), make.event("end")):
        sink.write(record)

    # All of it is retained but the events, so a Home Assistant that starts later knows the box.
    late = Subscriber(broker.port)
    until(lambda: len(late.got) >= 4)
    topic, text, retained = next(got for got in late.got if got[0].endswith("/config"))
    assert retained
    assert topic.startswith("homeassistant/device/gasmcast_house_box1_")
    config = json.loads(text)
    jsonschema.validate(config, DEVICE_CONFIG)
    entities = config["components"]
    assert sorted(entities) == ["cam_action", "cam_confidence", "cam_event"]

    state = json.loads(late.topic("house/box1/cam/state")[0])
    assert state == {
        "action": "Pushing",
        "confidence": 0.9,
        "best": "Pushing",
        "best_confidence": 0.9,
    }
    action, confidence = entities["cam_action"], entities["cam_confidence"]
    assert action["state_topic"] == confidence["state_topic"] == "house/box1/cam/state"
    assert template(action["value_template"], json.dumps(state)) == "Pushing"
    assert template(confidence["value_template"], json.dumps(state)) == "90.0"

    # The box and the camera are both available, and one that is stalled is not.
    box, camera = action["availability"]
    assert late.topic(box["topic"]) == ["online"]
    (status,) = late.topic(camera["topic"])
    assert [template(camera["value_template"], word) for word in (status, "stalled")] == [
        "online",
        "offline",
    ]

    # An event is read with its phase as type; a removed camera's entities are removed.
    sink.write(make.event("start"))
    event = entities["cam_event"]
    until(lambda: late.topic(event["state_topic"]))
    rendered = json.loads(template(event["value_template"], late.topic(event["state_topic"])[0]))
    assert rendered["event_type"] in event["event_types"]
    assert rendered["label"] == "Pushing"
    sink.write(replace(make.stats(), cameras=()))
    until(lambda: len(late.topic(topic)) == 2)
    removed = json.loads(late.topic(topic)[1])
    jsonschema.validate(removed, DEVICE_CONFIG)
    assert removed["components"]["cam_event"] == {"platform": "event"}

    sink.close()
    until(lambda: late.topic("house/box1/available")[-1] == "offline")
    late.close()


def test_home_assistant_gets_a_state_at_a_change_and_not_at_every_decision(make):
    from gasmcast.runtime.sinks.home_assistant import HomeAssistant, object_id

    home = HomeAssistant("homeassistant", "gasmcast")
    labels = ["Pushing", "Pushing", "Holding"]
    published = [home.state(replace(make.decision(label=label))) for label in labels]
    assert [state and state["action"] for state in published] == ["Pushing", None, "Holding"]
    assert home.state(replace(make.decision(label="Holding"), wall_s=1.7e9 + 6)) is not None
    assert object_id("door") == "door"
    assert object_id("door 1").startswith("door_1_")
    assert object_id("door 1") != object_id("door_1") != object_id("door/1")


@pytest.mark.parametrize(
    "query", ["?", "?discovery=", "?discovery=a/#", "?retain=1", "?discovery=+"]
)
def test_an_option_that_a_broker_does_not_have_is_refused(query):
    with pytest.raises(UsageError):
        MqttSink(f"mqtt://127.0.0.1:9/g{query}")
