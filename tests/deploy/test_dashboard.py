"""The dashboard is what its script makes, and asks only for metrics and labels that exist."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from gasmcast.runtime.records import CameraStats, Decision, Event, Notice, Stats
from gasmcast.runtime.service.health import Health
from gasmcast.runtime.sinks.prometheus import MetricsSink

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
METRIC = re.compile(r"\b(gasmcast_[a-z_]+)(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(
        "deploy_dashboard", DEPLOY / "grafana" / "dashboard.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """Labels of every metric that a running service shows, by name."""
    health = Health()
    health.watch("encoder", lambda: 0.0)
    sink = MetricsSink("127.0.0.1:0", health)
    window, latency = (0.0, 2.0), {"p50": 40.0, "p95": 80.0, "p99": 90.0}
    camera = CameraStats("cam", "live", 100, 9, 8, {"late": 2}, 25.0, 1.0, latency)
    for record in (
        Decision("cam", 1.0, 0.0, window, "Pushing", 1, 0.9, (("Pushing", 0.9),), {"total": 42.0}),
        Event("cam", 2.0, 0.0, "start", "Pushing", 1, 0.9, 1.5, 0.5, 0.5, 1),
        Notice("cam", 1.0, 0.0, "state", "it stalled"),
        Stats("", 0.0, 0.0, (camera,), {"encode": latency}, 1, 0.25, {"jsonl": {"written": 3}}),
    ):
        sink.write(record)
    page = sink.text()
    sink.close()

    labels: dict[str, set[str]] = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            name, inside = METRIC.match(line).groups()
            labels.setdefault(name, set()).update(re.findall(r'([a-z]+)="', inside or ""))
    return labels


def test_the_file_is_what_the_script_makes(script):
    assert json.loads((DEPLOY / "grafana" / "dashboard.json").read_text()) == script.dashboard()


def test_every_metric_and_label_exists(script, served):
    for panel in script.PANELS:
        used = METRIC.findall(panel.query)
        assert used, panel.title
        for name, selector in used:
            assert name in served, panel.title
            labels = set(re.findall(r"([a-z]+)=", selector))
            labels |= set(re.findall(r"\{\{([a-z]+)\}\}", panel.legend))
            grouped = re.search(r" by \(([^)]*)\)", panel.query)
            if grouped:
                labels |= set(grouped[1].split(", "))
            assert labels <= served[name], panel.title


def test_every_metric_is_shown(script, served):
    shown = {name for panel in script.PANELS for name, _ in METRIC.findall(panel.query)}
    assert shown == set(served)


def test_panels_fill_the_grid_and_do_not_overlap(script):
    places = [panel["gridPos"] for panel in script.dashboard()["panels"]]
    cells = [(p["x"] + dx, p["y"]) for p in places for dx in range(p["w"])]
    assert len(cells) == len(set(cells))
    assert all(0 <= x < script.WIDTH for x, _ in cells)


def test_grafana_finds_the_data_source_and_the_file():
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())
    provider = yaml.safe_load((provisioning / "dashboards" / "gasmcast.yaml").read_text())
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    folder = provider["providers"][0]["options"]["path"]
    mounts = compose["services"]["grafana"]["volumes"]
    assert f"../grafana/dashboard.json:{folder}/gasmcast.json:ro" in mounts
