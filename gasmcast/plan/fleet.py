"""How many boxes a number of cameras needs, and what they send and store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gasmcast.plan.cost_figures import BOXES, FIGURES, Box, Figure

__all__ = ["BoxPlan", "FleetPlan", "plan_fleet"]

_DAY_S = 86_400.0


@dataclass(frozen=True)
class BoxPlan:
    """One kind of box for all cameras of a fleet."""

    box: str
    computed: int
    """Cameras of one box if only the network counts."""
    decoded: int
    """Cameras of one box if only decoding counts."""
    boxes: int

    @property
    def cameras(self) -> int:
        """Cameras of one box."""
        return min(self.computed, self.decoded)

    @property
    def bottleneck(self) -> str:
        """Return the limit of a box, in words."""
        return "decoding on the CPU" if self.decoded < self.computed else "the network"


@dataclass(frozen=True)
class FleetPlan:
    """Boxes, network and storage of a fleet."""

    cameras: int
    boxes: tuple[BoxPlan, ...]
    frames_mbit: float
    """Mbit/s if all frames are sent to a center."""
    frames_tb_day: float
    """Terabytes per day if they are stored."""
    decisions_mbit: float
    """Mbit/s if every decision is sent."""
    events_mbit: float
    """Mbit/s if only events are."""
    events_gb_day: float


def plan_fleet(
    cameras: int,
    *,
    fps: float = 25.0,
    decisions_per_s: float = 2.0,
    figures: Mapping[str, Figure] = FIGURES,
) -> FleetPlan:
    """Plan a fleet.

    A box without a card shares its cores between decoding and the network; one with a card decodes
    on its cores and computes on the card.

    Args:
        cameras: number of cameras.
        fps: frames per second of each.
        decisions_per_s: decisions per second of each; two at the default clip spec.
        figures: what the model starts from.
    """
    value = {name: figure.value for name, figure in figures.items()}
    plans = []
    for box in BOXES.values():
        plan = _plan_box(box, cameras, fps, decisions_per_s, value)
        plans.append(plan)

    # A start and an end for each event.
    events_per_s = cameras * value["events_per_hour"] / 3600.0
    event_bytes_per_s = 2 * events_per_s * value["event_bytes"]
    decision_bytes_per_s = cameras * decisions_per_s * value["decision_bytes"]
    frames_mbit = cameras * value["stream_mbit"]
    return FleetPlan(
        cameras=cameras,
        boxes=tuple(plans),
        frames_mbit=frames_mbit,
        frames_tb_day=frames_mbit / 8 * _DAY_S / 1e6,
        decisions_mbit=decision_bytes_per_s * 8 / 1e6,
        events_mbit=event_bytes_per_s * 8 / 1e6,
        events_gb_day=event_bytes_per_s * _DAY_S / 1e9,
    )


def _plan_box(
    box: Box, cameras: int, fps: float, decisions_per_s: float, value: Mapping[str, float]
) -> BoxPlan:
    """Return how many cameras one box serves, and how many boxes that makes."""
    decode_cores = fps / value["decoded_fps"]
    usable_cores = box.cores * value["headroom"]
    if box.tera_per_s is None:
        # The same cores do both.
        cores = decode_cores + decisions_per_s * value["cpu_core_s"]
        computed = decoded = int(usable_cores / cores)
    else:
        # A multiply-add is two operations.
        operations = 2e9 * value["giga_macs"] * decisions_per_s
        peak = box.tera_per_s.value * 1e12 * value["card_share"]
        computed = int(peak * value["headroom"] / operations)
        decoded = int(usable_cores / decode_cores)
    served = max(1, min(computed, decoded))
    return BoxPlan(box.name, computed, decoded, math.ceil(cameras / served))
