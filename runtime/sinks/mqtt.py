"""Events to an MQTT broker, in the topics that Frigate's users know.

`<prefix>/<camera>/action` an event; `<prefix>/<camera>/status` the camera's state, retained; `<prefix>/<camera>/stats` its counters;
`<prefix>/available` `online` or, by the broker itself when we vanish, `offline` (last will), retained.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import unquote, urlsplit

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.records import Decision, Event, Notice, Record, Stats
from gasmcast.runtime.service.secrets import fill_secrets, hide, redact, redact_tree

__all__ = ["MqttSink"]

_ACK_S = 5.0


class MqttSink:
    """Publishes to `mqtt[s]://user:${PASS}@host:port/prefix`; events with acknowledgement, what is retained with it too.

    The connection is made, kept and made again in the background (paho's thread); while there is none, `write` raises, and the queue
    in front of this sink keeps the events.

    Args:
        url: where to.

    Raises:
        UsageError: not such a URL, or a secret that is not set.
        MachineError: paho-mqtt is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import paho.mqtt.client as mqtt  # noqa: PLC0415 - an extra
        except ImportError:
            raise MachineError(
                "MQTT needs paho-mqtt, which is not installed.", "pip install 'gasmcast[mqtt]'"
            ) from None
        parts = urlsplit(fill_secrets(url))
        try:
            port = parts.port or {"mqtt": 1883, "mqtts": 8883}[parts.scheme]
        except (KeyError, ValueError):
            port = 0
        if not port or not parts.hostname:
            raise UsageError(
                f"{redact(url)} is no address of an MQTT broker.",
                "Write mqtt://user:${PASS}@host:1883/prefix.",
            )
        self._where = f"{parts.hostname}:{port}"
        self._prefix = parts.path.strip("/") or "gasmcast"
        if "+" in self._prefix or "#" in url or "?" in url:
            raise UsageError(
                f"{redact(url)}: a topic must not hold +, # or ?.", "Choose another prefix."
            )
        self._cameras: set[str] = set()  # whose state the broker keeps
        self._client = client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if parts.username:
            password = unquote(parts.password or "")
            hide(password)
            client.username_pw_set(unquote(parts.username), password)
        if parts.scheme == "mqtts":
            client.tls_set()
        client.will_set(f"{self._prefix}/available", "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.max_queued_messages_set(64)
        client.on_connect = self._connected
        self._reason = "not connected yet"
        client.connect_async(parts.hostname, port, keepalive=20)
        client.loop_start()

    @staticmethod
    def wants(record: Record) -> bool:
        """Events, and the cameras' states and counters."""
        return isinstance(record, Event | Stats)

    def write(self, record: Record) -> None:
        """Raises: MachineError while the broker is away."""
        messages = list(self._messages(record))
        if messages and not self._client.is_connected():
            raise MachineError(
                f"The MQTT broker {self._where} is not connected ({self._reason}).",
                "Events wait for it.",
            )
        for topic, payload, qos, retain in messages:
            info = self._client.publish(f"{self._prefix}/{topic}", payload, qos=qos, retain=retain)
            if qos:
                try:
                    info.wait_for_publish(_ACK_S)
                    done = info.is_published()
                except (ValueError, RuntimeError):
                    done = False
                if not done:
                    raise MachineError(
                        f"The MQTT broker {self._where} did not take a message in {_ACK_S:.0f} s.",
                        "It is sent again.",
                    )
        if isinstance(record, Stats):
            self._cameras = {camera.camera for camera in record.cameras}

    def close(self) -> None:
        """Say goodbye, so that the broker need not."""
        if self._client.is_connected():
            with contextlib.suppress(ValueError, RuntimeError):
                self._client.publish(
                    f"{self._prefix}/available", "offline", qos=1, retain=True
                ).wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _messages(self, record: Record) -> list[tuple[str, str, int, bool]]:
        """`(topic, payload, qos, retain)`."""
        if isinstance(record, Event):
            return [(f"{record.camera}/action", _text(record.to_json()), 1, False)]
        if isinstance(record, Decision | Notice):
            return []
        out = []
        for camera in record.cameras:
            state = {"live": "online", "stalled": "stalled"}.get(camera.state, "offline")
            counters = {key: value for key, value in vars(camera).items() if key != "camera"}
            out += [
                (f"{camera.camera}/status", state, 1, True),
                (f"{camera.camera}/stats", _text(counters), 0, False),
            ]
        # A camera that was removed says nothing more: what the broker keeps of it must not stay `online`.
        gone = sorted(self._cameras - {camera.camera for camera in record.cameras})
        return out + [(f"{name}/status", "offline", 1, True) for name in gone]

    def _connected(
        self, client: Any, _data: object, _flags: object, reason: Any, _properties: object
    ) -> None:  # noqa: ANN401 - paho's
        if reason.is_failure:
            self._reason = str(reason).lower()
            return
        self._reason = (
            "the connection was lost"  # why it is not connected, whenever that is so from now on
        )
        client.publish(f"{self._prefix}/available", "online", qos=1, retain=True)


def _text(tree: object) -> str:
    return json.dumps(redact_tree(tree), ensure_ascii=False, separators=(",", ":"))
