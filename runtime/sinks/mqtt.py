"""Events to an MQTT broker, with topics like Frigate's.

| topic | payload |
|---|---|
| `<prefix>/<camera>/action` | an event |
| `<prefix>/<camera>/status` | the camera's state, retained |
| `<prefix>/<camera>/stats` | its counters |
| `<prefix>/available` | `online`; `offline` as last will when this process vanishes; retained |
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, NamedTuple
from urllib.parse import unquote

from gasmcast.errors import MachineError, UsageError
from gasmcast.missing import install_hint
from gasmcast.runtime.records import Decision, Event, Notice, Record, Stats
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact_tree
from gasmcast.runtime.sinks.sink_address import shown_address, split_address

__all__ = ["MqttSink"]

_ACK_S = 5.0


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
        url: `mqtt[s]://user:${PASS}@host:port/prefix`.

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

        # Wildcards are not valid in topics; in a URL, # and ? would cut the prefix.
        if "+" in self._prefix or "#" in url or "?" in url:
            raise UsageError(
                f"{shown_address(url)}: a topic must not hold +, # or ?.", "Choose another prefix."
            )

        # Cameras whose retained state the broker has.
        self._cameras: set[str] = set()
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

        # Asynchronous: an absent broker must not delay the start.
        client.connect_async(parts.hostname, port, keepalive=20)
        client.loop_start()

    @staticmethod
    def wants(record: Record) -> bool:
        """Return whether a record is an event or has the cameras' states and counters."""
        return isinstance(record, Event | Stats)

    def write(self, record: Record) -> None:
        """Publish a record.

        Raises:
            MachineError: the broker is not connected, or does not acknowledge.
        """
        messages = list(self._messages(record))
        if messages and not self._client.is_connected():
            raise MachineError(
                f"The MQTT broker {self._where} is not connected ({self._reason}).",
                "Events wait for it.",
            )
        for message in messages:
            self._publish(message)

        # Only after success: a retry must send `offline` for the same cameras.
        if isinstance(record, Stats):
            self._cameras = {camera.camera for camera in record.cameras}

    def close(self) -> None:
        """Publish `offline` and disconnect."""
        if self._client.is_connected():
            with contextlib.suppress(ValueError, RuntimeError):
                self._client.publish(
                    f"{self._prefix}/available", "offline", qos=1, retain=True
                ).wait_for_publish(1.0)

        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, message: _Message) -> None:
        info = self._client.publish(
            f"{self._prefix}/{message.topic}",
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
            return [_Message(f"{record.camera}/action", _text(record.to_json()), 1, retain=False)]
        if isinstance(record, Decision | Notice):
            return []

        messages = []
        for camera in record.cameras:
            state = {"live": "online", "stalled": "stalled"}.get(camera.state, "offline")
            counters = {key: value for key, value in vars(camera).items() if key != "camera"}
            messages += [
                _Message(f"{camera.camera}/status", state, 1, retain=True),
                _Message(f"{camera.camera}/stats", _text(counters), 0, retain=False),
            ]

        # The retained state of a camera that was removed must not stay `online`.
        removed = sorted(self._cameras - {camera.camera for camera in record.cameras})
        messages += [_Message(f"{name}/status", "offline", 1, retain=True) for name in removed]
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


def _text(tree: object) -> str:
    return json.dumps(redact_tree(tree), ensure_ascii=False, separators=(",", ":"))
