"""Messages of Home Assistant's MQTT discovery: one device per box, three entities per camera.

The payload follows "Device discovery" of https://www.home-assistant.io/integrations/mqtt and the
schemas of `homeassistant/components/mqtt/schemas.py` (device, origin, components, availability).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

from gasmcast import __version__
from gasmcast.runtime.records import Decision

__all__ = ["HomeAssistant", "object_id"]

PHASES = ("start", "update", "end")
"""Types of the event entity: the phases of an action."""
REFRESH_S = 5.0
"""Seconds after which an unchanged action is published again, for its confidence."""
PLATFORMS = ("event", "sensor")
"""Platforms of the entities of a camera."""
MOST_STATE_LETTERS = 255
"""Length of the longest state that Home Assistant stores."""
_SUPPORT_URL = "https://github.com/gasmcast/gasmcast"


def object_id(name: str) -> str:
    """Return a name with the letters that a discovery topic may have: `[a-zA-Z0-9_-]`.

    A name that has others gets a part of its hash, so that two names never become one.
    """
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    if plain == name:
        return plain
    return f"{plain}_{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:6]}"


class HomeAssistant:
    """Device of one box as Home Assistant sees it.

    Args:
        discovery: discovery prefix of Home Assistant, `homeassistant` by default there.
        prefix: prefix of the topics of this box, which also names the device.
    """

    def __init__(self, discovery: str, prefix: str) -> None:
        self._prefix = prefix
        self._device = f"gasmcast_{object_id(prefix)}"
        self.config_topic = f"{discovery}/device/{self._device}/config"
        """Topic of the retained description of the device."""
        # Platform of each entity that was described, by its object id.
        self._announced: dict[str, str] = {}
        self._published: dict[str, tuple[str, float]] = {}

    def config(self, cameras: Collection[str]) -> dict[str, Any]:
        """Return the description of the device.

        Entities of earlier descriptions that are gone are listed with their platform alone, which
        removes them.
        """
        entities: dict[str, Any] = {}
        for camera in cameras:
            entities |= self._entities(camera)
        gone = sorted(self._announced.keys() - entities.keys())
        components = {key: {"platform": self._announced[key]} for key in gone} | entities
        self._announced |= {key: entity["platform"] for key, entity in entities.items()}

        return {
            "device": {
                "identifiers": [self._device],
                "name": self._prefix,
                "manufacturer": "gasmcast",
                "model": "action recognition",
                "sw_version": __version__,
            },
            "origin": {
                "name": "gasmcast",
                "sw_version": __version__,
                "support_url": _SUPPORT_URL,
            },
            "components": components,
            "qos": 1,
        }

    def state(self, decision: Decision) -> dict[str, Any] | None:
        """Return the state of a camera's sensors; None if it was published a short while ago.

        Decisions come several times per second, which is more than a home needs to store.
        """
        label, wall_s = self._published.get(decision.camera, ("", float("-inf")))
        if decision.label == label and abs(decision.wall_s - wall_s) < REFRESH_S:
            return None

        self._published[decision.camera] = (decision.label, decision.wall_s)
        return {
            "action": decision.label[:MOST_STATE_LETTERS],
            "confidence": round(decision.p, 4),
            "best": decision.best,
            "best_confidence": round(decision.best_p, 4),
        }

    def remember(self, payload: bytes) -> None:
        """Read the description that an earlier run left at the broker; ignore anything else."""
        try:
            components = dict(json.loads(payload)["components"])
            entities = {str(key): dict(entity) for key, entity in components.items()}
        except (ValueError, TypeError, KeyError):
            return

        # An entity with nothing but its platform was removed by that run.
        for key, entity in entities.items():
            if entity.get("platform") in PLATFORMS and "unique_id" in entity:
                self._announced.setdefault(key, entity["platform"])

    def forget(self) -> None:
        """Publish the next state of every camera, as a new connection requires."""
        self._published.clear()

    def _entities(self, camera: str) -> dict[str, Any]:
        """Return the event entity and the two sensors of a camera by their object id."""
        topic = f"{self._prefix}/{camera}"
        key = object_id(camera)
        # The box and the camera must both be there; a stalled camera tells nothing.
        common: dict[str, Any] = {
            "availability_mode": "all",
            "availability": [
                {"topic": f"{self._prefix}/available"},
                {
                    "topic": f"{topic}/status",
                    "value_template": "{{ 'online' if value == 'online' else 'offline' }}",
                },
            ],
        }
        state_topic = {"state_topic": f"{topic}/state", "json_attributes_topic": f"{topic}/state"}

        entities: dict[str, dict[str, Any]] = {
            "event": {
                "platform": "event",
                "name": f"{camera} event",
                "icon": "mdi:gesture",
                "state_topic": f"{topic}/action",
                "event_types": list(PHASES),
                # Home Assistant reads the type of an event from `event_type`.
                "value_template": "{{ dict(value_json, event_type=value_json.phase) | to_json }}",
            },
            "action": {
                "platform": "sensor",
                "name": f"{camera} action",
                "icon": "mdi:human-greeting",
                "value_template": "{{ value_json.action }}",
                **state_topic,
            },
            "confidence": {
                "platform": "sensor",
                "name": f"{camera} confidence",
                "icon": "mdi:percent",
                "state_class": "measurement",
                "unit_of_measurement": "%",
                "value_template": "{{ (100 * value_json.confidence) | round(1) }}",
                "state_topic": f"{topic}/state",
            },
        }
        return {
            f"{key}_{name}": {"unique_id": f"{self._device}_{key}_{name}", **entity, **common}
            for name, entity in entities.items()
        }
