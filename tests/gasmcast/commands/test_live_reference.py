"""docs/reference.md names every setting, key and metric, and none that is not there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import CameraStats, Decision, Event, Notice, Stats
from gasmcast.runtime.service.health import HealthStatus

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
RECORDS, METRICS, SETTINGS = (PAGE.split("\n## ")[i] for i in (1, 2, 3))


def first_cells(section: str) -> set[str]:
    return {
        name
        for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }


def test_every_setting_is_there_and_no_other() -> None:
    assert first_cells(SETTINGS) == set(LiveConfig.model_fields)


@pytest.mark.parametrize("kind", [Decision, Event, Notice, Stats, CameraStats])
def test_every_key_of_a_record_is_there(kind: type) -> None:
    named = set(re.findall(r"`(\w+)`", RECORDS))
    assert {field.name for field in fields(kind)} - {"wall_s"} <= named


def test_every_metric_is_there_and_no_other() -> None:
    served = set(
        re.findall(
            r'"(gasmcast_\w+)"',
            (ROOT / "runtime" / "sinks" / "prometheus.py").read_text(encoding="utf-8"),
        )
    )
    assert {name for name in first_cells(METRICS) if name.startswith("gasmcast_")} == served
    assert {field.name for field in fields(HealthStatus)} <= set(re.findall(r"`(\w+)`", METRICS))
