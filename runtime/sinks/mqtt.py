"""Events to an MQTT broker, with topics like Frigate's.

| topic | payload |
|---|---|
| `<prefix>/<camera>/action` | an event |
| `<prefix>/<camera>/status` | the camera's state, retained |
| `<prefix>/<camera>/stats` | its counters |
| `<prefix>/available` | `online`; `offline` as last will when this process vanishes; retained |

With `?discovery=homeassistant` in the URL, Home Assistant finds the box and its cameras:

| topic | payload |
|---|---|
| `<prefix>/<camera>/state` | current action and its confidence, retained |
| `homeassistant/device/gasmcast_<prefix>/config` | the description of the device, retained |

After each connect, the sink reads the `status` and `config` that the broker has retained from an
earlier run, and withdraws the cameras that no longer exist.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from gasmcast.errors import MachineError, UsageError
from gasmcast.missing import install_hint
from gasmcast.runtime.records import Decision, Event, Notice, Record, Stats
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact_tree
from gasmcast.runtime.sinks.home_assistant import HomeAssistant
from gasmcast.runtime.sinks.sink_address import shown_address, split_address

__all__ = ["MqttSink"]

_ACK_S = 5.0
_CLOSE_S = 1.0
# Levels of a topic, without wildcards and without the $ of the broker's own topics.
_DISCOVERY_PREFIX = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


class _Message(NamedTuple):
    topic: str
    payload: str
    qos: int
    retain: bool


class MqttSink:
    """Publish to a broker; events and retained messages wait for its acknowledgement.

    paho's thread connects and reconnects in the background. While there is no connection `write`
    raises, and the queue in front of this sink keeps the events.

    Args:
        url: `mqtt[s]://user:${PASS}@host:port/prefix`, with `?discovery=homeassistant` for the
            discovery of Home Assistant (the value is its discovery prefix).

    Raises:
        UsageError: not such a URL, or a secret that is not set.
        MachineError: paho-mqtt is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import paho.mqtt.client as mqtt  # noqa: PLC0415 - an optional dependency
        except ImportError:
            raise MachineError(
                "MQTT needs paho-mqtt, which is not installed.", install_hint("mqtt")
            ) from None

        example = "mqtt://user:${PASS}@host:1883/prefix"
        parts = split_address(url, fill_secrets(url), example)
        # A missing port gets the default of the scheme.
        port = parts.port or {"mqtt": 1883, "mqtts": 8883}.get(parts.scheme)
        if port is None or not parts.hostname:
            raise UsageError(
                f"{shown_address(url)} is no address of an MQTT broker.", f"Write {example}."
            )
        self._where = f"{parts.hostname}:{port}"
        self._prefix = parts.path.strip("/") or "gasmcast"

        # Wildcards are not valid in topics; in a URL, # would cut the prefix.
        if "+" in self._prefix or "#" in url:
            raise UsageError(
                f"{shown_address(url)}: a topic must not hold + or #.", "Choose another prefix."
            )
        discovery = _discovery_prefix(url, parts.query, asked="?" in url)
        self._home = HomeAssistant(discovery, self._prefix) if discovery else None

        # Cameras whose retained state the broker has, and those that Home Assistant knows.
        self._cameras: set[str] = set()
        self._described: set[str] | None = None

        # Messages of an earlier run, from paho's thread to the thread that writes.
        self._retained: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self._subscribed = threading.Event()
        self._reading = False
        self._status_topic = re.compile(rf"{re.escape(self._prefix)}/([^/]+)/status")
        self._reason = "not connected yet"
        self._client = client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)

        # The password may contain any letter, escaped as in a URL.
        if parts.username:
            password = unquote(parts.password or "")
            hide(password)
            client.username_pw_set(unquote(parts.username), password)

        if parts.scheme == "mqtts":
            client.tls_set()

        # The broker announces `offline` when this process vanishes.
        client.will_set(f"{self._prefix}/available", "offline", qos=1, retain=True)

        # paho keeps few messages, because the queue in front of this sink has them all.
        client.reconnect_delay_set(1, 30)
        client.max_queued_messages_set(64)
        client.on_connect = self._connected
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._received

        # Asynchronous: an absent broker must not delay the start.
        client.connect_async(parts.hostname, port, keepalive=20)
        client.loop_start()

    def wants(self, record: Record) -> bool:
        """Return whether a record is published.

        Events and statistics are; decisions only for Home Assistant.
        """
        return isinstance(record, Event | Stats) or (
            self._home is not None and isinstance(record, Decision)
        )

    def write(self, record: Record) -> None:
        """Publish a record.

        Raises:
            MachineError: the broker is not connected, or does not acknowledge.
        """
        if isinstance(record, Decision):
            self._write_state(record)
            return
        if not isinstance(record, Notice) and not self._client.is_connected():
            raise MachineError(
                f"The MQTT broker {self._where} is not connected ({self._reason}).",
                "Events wait for it.",
            )
        if isinstance(record, Stats):
            self._read_retained()
        for message in self._messages(record):
            self._publish(message)

        # Only after success: a retry must send `offline` for the same cameras.
        if isinstance(record, Stats):
            self._cameras = {camera.camera for camera in record.cameras}
            self._describe()
            if self._reading:
                self._client.unsubscribe(self._topics_of_earlier_runs())
                self._reading = False

    def close(self) -> None:
        """Publish `offline` for every camera and for the box, and disconnect."""
        if self._client.is_connected():
            topics = [f"{self._prefix}/{camera}/status" for camera in sorted(self._cameras)]
            topics.append(f"{self._prefix}/available")
            end_s = time.monotonic() + _CLOSE_S
            with contextlib.suppress(ValueError, RuntimeError):
                sent = [
                    self._client.publish(topic, "offline", qos=1, retain=True) for topic in topics
                ]
                for message in sent:
                    message.wait_for_publish(max(0.0, end_s - time.monotonic()))

        self._client.disconnect()
        self._client.loop_stop()

    def _write_state(self, decision: Decision) -> None:
        """Publish the current action; a state that finds no connection is replaced by the next."""
        if self._home is None or not self._client.is_connected():
            return
        state = self._home.state(decision)
        if state is not None:
            topic = f"{self._prefix}/{decision.camera}/state"
            self._publish(_Message(topic, _text(state), 0, retain=True))

    def _describe(self) -> None:
        """Publish the device for Home Assistant where its cameras or the connection are new."""
        if self._home is None or self._described == self._cameras:
            return
        cameras = set(self._cameras)
        config = self._home.config(sorted(cameras))
        self._publish(_Message(self._home.config_topic, _text(config), 1, retain=True))
        self._described = cameras

    def _topics_of_earlier_runs(self) -> list[str]:
        """Return the topics whose retained messages name the cameras of an earlier run."""
        topics = [f"{self._prefix}/+/status"]
        if self._home is not None:
            topics.append(self._home.config_topic)
        return topics

    def _read_retained(self) -> None:
        """Add the cameras of an earlier run to those that the broker knows.

        What arrives later is read at the next statistics.
        """
        # The broker must have the subscription before its retained messages are replaced. One that
        # never answers costs a wait, and cameras of an earlier run then stay as they are.
        self._subscribed.wait(_ACK_S)
        while True:
            try:
                topic, payload = self._retained.get_nowait()
            except Empty:
                return

            if self._home is not None and topic == self._home.config_topic:
                self._home.remember(payload)
                self._described = None
            elif (match := self._status_topic.fullmatch(topic)) and payload != b"offline":
                self._cameras.add(match[1])

    def _received(self, _client: object, _data: object, message: Any) -> None:  # noqa: ANN401
        # Without `retain` it is this sink's own message.
        if message.retain:
            self._retained.put((message.topic, message.payload))

    def _publish(self, message: _Message) -> None:
        info = self._client.publish(
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
        )
        if not message.qos:
            return

        # paho raises when the connection is lost meanwhile.
        try:
            info.wait_for_publish(_ACK_S)
            acknowledged = info.is_published()
        except (ValueError, RuntimeError):
            acknowledged = False
        if not acknowledged:
            raise MachineError(
                f"The MQTT broker {self._where} did not take a message in {_ACK_S:.0f} s.",
                "It is sent again.",
            )

    def _messages(self, record: Record) -> list[_Message]:
        if isinstance(record, Event):
            return [
                _Message(
                    f"{self._prefix}/{record.camera}/action",
                    _text(record.to_json()),
                    1,
                    retain=False,
                )
            ]
        if isinstance(record, Decision | Notice):
            return []

        messages = []
        for camera in record.cameras:
            state = {"live": "online", "stalled": "stalled"}.get(camera.state, "offline")
            counters = {key: value for key, value in vars(camera).items() if key != "camera"}
            topic = f"{self._prefix}/{camera.camera}"
            messages += [
                _Message(f"{topic}/status", state, 1, retain=True),
                _Message(f"{topic}/stats", _text(counters), 0, retain=False),
            ]

        # The retained state of a camera that was removed must not stay `online`.
        removed = sorted(self._cameras - {camera.camera for camera in record.cameras})
        messages += [
            _Message(f"{self._prefix}/{name}/status", "offline", 1, retain=True) for name in removed
        ]
        return messages

    def _connected(
        self,
        client: Any,  # noqa: ANN401 - paho's signature
        _data: object,
        _flags: object,
        reason: Any,  # noqa: ANN401 - paho's signature
        _properties: object,
    ) -> None:
        if reason.is_failure:
            self._reason = str(reason).lower()
            return
        self._reason = "the connection was lost"  # if it is not connected from now on
        client.publish(f"{self._prefix}/available", "online", qos=1, retain=True)
        self._subscribed.clear()
        self._reading = True
        client.subscribe([(topic, 1) for topic in self._topics_of_earlier_runs()])

        # A broker that restarted without its store has forgotten what was retained.
        self._described = None
        if self._home is not None:
            self._home.forget()


def _discovery_prefix(url: str, query: str, *, asked: bool) -> str:
    """Return the discovery prefix that the query of a URL has; empty if it has no query.

    Raises:
        UsageError: a query that is something else.
    """
    if not asked:
        return ""
    options = parse_qsl(query, keep_blank_values=True)
    name, value = options[0] if len(options) == 1 else ("", "")
    if name != "discovery" or not _DISCOVERY_PREFIX.fullmatch(value):
        raise UsageError(
            f"{shown_address(url)}: the only option of a broker is discovery=PREFIX.",
            "Write ?discovery=homeassistant, in quotation marks, or choose a prefix without ?.",
        )
    return value


def _text(tree: object) -> str:
    return json.dumps(redact_tree(tree), ensure_ascii=False, separators=(",", ":"))
