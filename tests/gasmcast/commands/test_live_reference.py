"""The reference pages name every key and metric, and none that does not exist.

Settings are generated: tests/docs/test_generated_pages.py.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from gasmcast.runtime.records import CameraStats, Decision, Event, Notice, Stats
from gasmcast.runtime.service.health import HealthStatus

ROOT = Path(__file__).parents[3]
RECORDS, METRICS = (
    (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    for name in ("records.md", "metrics.md")
)


def first_cells(section: str) -> set[str]:
    return {
        name
        for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }


@pytest.mark.parametrize("kind", [Decision, Event, Notice, Stats, CameraStats])
def test_every_key_of_a_record_is_there(kind: type) -> None:
    named = set(re.findall(r"`(\w+)`", RECORDS))
    assert {field.name for field in fields(kind)} - {"wall_s"} <= named


def test_every_metric_is_there_and_no_other() -> None:
    files = ("runtime/sinks/prometheus.py", "gasmcast/serving/serve_metrics.py")
    served = {
        name
        for file in files
        for name in re.findall(r'"(gasmcast_\w+)"', (ROOT / file).read_text(encoding="utf-8"))
    }
    assert {name for name in first_cells(METRICS) if name.startswith("gasmcast_")} == served
    assert {field.name for field in fields(HealthStatus)} <= set(re.findall(r"`(\w+)`", METRICS))
