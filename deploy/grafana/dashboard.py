"""Write the Grafana dashboard: `python deploy/grafana/dashboard.py` makes dashboard.json.

A test compares the file with this script, and every metric and label in it with the page that
`gasmcast live --metrics` serves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PANELS", "Panel", "dashboard"]

WIDTH, HEIGHT = 24, 7
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """A panel with its query."""

    title: str
    query: str
    legend: str = ""
    """Text of a line, with labels as `{{camera}}`."""
    unit: str = "short"
    kind: str = "timeseries"
    columns: int = 8
    """Width; a row has 24."""
    help: str = ""


_CAMERA = '{camera=~"$camera"}'

PANELS = (
    Panel(
        "Health",
        "min(gasmcast_up)",
        kind="stat",
        columns=4,
        help="1: every stage makes progress. 0: one does not; see the age of stages.",
    ),
    Panel("Uptime", "min(gasmcast_uptime_seconds)", unit="s", kind="stat", columns=4),
    Panel("Version", "gasmcast_info", "{{version}}", kind="stat", columns=4),
    Panel(
        "Cameras that are live",
        'sum(gasmcast_camera_state{camera=~"$camera",state="live"})',
        kind="stat",
        columns=4,
    ),
    Panel("Engine busy", "gasmcast_engine_busy", unit="percentunit", kind="stat", columns=4),
    Panel(
        "Degradation",
        "gasmcast_degradation_level",
        kind="stat",
        columns=4,
        help="0 none, 1 hop x2, 2 still-scene filter, 3 round-robin, 4 whole windows.",
    ),
    Panel(
        "Events started per minute",
        f"sum by (camera, label) (rate(gasmcast_events_total{_CAMERA}[5m])) * 60",
        "{{camera}}: {{label}}",
        columns=12,
    ),
    Panel(
        "Events in the present day",
        f"gasmcast_camera_events_today{_CAMERA}",
        "{{camera}}",
        columns=12,
    ),
    Panel(
        "Latency, capture to decision",
        'gasmcast_latency_seconds{camera=~"$camera",quantile=~"0.5|0.95"}',
        "{{camera}} p{{quantile}}",
        unit="s",
        columns=12,
    ),
    Panel("Frames per second", f"gasmcast_camera_fps{_CAMERA}", "{{camera}}"),
    Panel(
        "Segments encoded per second",
        f"rate(gasmcast_camera_segments_total{_CAMERA}[1m])",
        "{{camera}}",
    ),
    Panel(
        "Distinct frames per slot",
        f"gasmcast_camera_delivery{_CAMERA}",
        "{{camera}}",
        help="Below 1 the camera delivers fewer frames than the model takes.",
    ),
    Panel(
        "Not computed, per second",
        f"sum by (camera, cause) (rate(gasmcast_skipped_total{_CAMERA}[1m]))",
        "{{camera}}: {{cause}}",
    ),
    Panel(
        "Time of each stage, p95",
        'gasmcast_inference_speed_seconds{quantile="0.95"}',
        "{{stage}}",
        unit="s",
    ),
    Panel("Since a stage's progress", "gasmcast_stage_age_seconds", "{{stage}}", unit="s"),
    Panel(
        "Cameras by state",
        f"sum by (state) (gasmcast_camera_state{_CAMERA})",
        "{{state}}",
    ),
    Panel(
        "Records by sink",
        "gasmcast_sink_records",
        "{{sink}}: {{what}}",
        help="Written, waiting, and lost by cause.",
    ),
    Panel(
        "Notices per minute",
        f"sum by (camera, what) (rate(gasmcast_notices_total{_CAMERA}[5m])) * 60",
        "{{camera}}: {{what}}",
    ),
    Panel(
        "Decisions per second",
        f"rate(gasmcast_decisions_total{_CAMERA}[1m])",
        "{{camera}}",
        columns=12,
    ),
    Panel(
        "Frames per second, from the count",
        f"rate(gasmcast_camera_frames_total{_CAMERA}[1m])",
        "{{camera}}",
        columns=12,
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels, x, y = [], 0, 0
    for number, panel in enumerate(PANELS, start=1):
        # A row is full: the next panel begins below it.
        if x + panel.columns > WIDTH:
            x, y = 0, y + HEIGHT
        panels.append(_panel(number, panel, x, y))
        x += panel.columns

    return {
        "uid": "gasmcast",
        "title": "gasmcast live",
        "tags": ["gasmcast"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "camera",
                    "label": "Camera",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": "label_values(gasmcast_camera_state, camera)",
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": panels,
    }


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    target = {"refId": "A", "expr": panel.query, "legendFormat": panel.legend or panel.title}
    tree: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.columns, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [target | {"datasource": _SOURCE}],
    }
    # The version is the name of its series.
    if panel.legend and panel.kind == "stat":
        tree["options"] = {"textMode": "name"}
    return tree


def main() -> None:
    """Write the file beside this script."""
    path = Path(__file__).with_name("dashboard.json")
    path.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(PANELS)} panels")


if __name__ == "__main__":
    main()
