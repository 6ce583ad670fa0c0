"""The dashboard is what its script makes, and asks only for metrics and labels that exist."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from gasmcast.runtime.service.health import Health
from gasmcast.runtime.sinks.prometheus import MetricsSink

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
METRIC = re.compile(r"\b(gasmcast_[a-z_]+)(?:\{([^}]*)\})?")


def load(path):
    spec = importlib.util.spec_from_file_location(f"dashboard_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return load(DEPLOY / "grafana" / "dashboard.py")


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """Labels of every metric that a running service shows, by name."""
    make = load(DEPLOY.parent / "tests" / "runtime" / "sinks" / "conftest.py").Records
    health = Health()
    health.watch("encoder", lambda: 0.0)
    sink = MetricsSink("127.0.0.1:0", health)
    for record in (make.decision(), make.event(), make.notice(), make.stats()):
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
