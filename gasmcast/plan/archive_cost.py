"""What it takes to label an archive once: core hours, card hours, output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gasmcast.plan.cost_figures import BOXES, FIGURES, Figure

__all__ = ["ArchivePlan", "plan_archive"]

_SEGMENTS = 8
"""Segments of a window at the default clip spec; a shorter clip is padded to one window."""


@dataclass(frozen=True)
class ArchivePlan:
    """Time and output of one run over an archive."""

    clips: int
    segments: int
    """Segments of one clip."""
    core_hours: float
    card_hours: dict[str, float]
    """Hours of one card of each kind, by box."""
    output_tb: float
    machines: int
    """Spot machines of 16 cores that finish within the wanted time."""
    hours: float
    lost_share: float
    """Share of the work that is done twice if each machine is taken away once an hour."""


def plan_archive(
    clips: int,
    *,
    clip_s: float = 4.0,
    hours: float = 168.0,
    segment_s: float = 0.5,
    figures: Mapping[str, Figure] = FIGURES,
) -> ArchivePlan:
    """Plan a run of `gasmcast classify` over an archive.

    Args:
        clips: number of clips.
        clip_s: mean duration of a clip in seconds.
        hours: wanted duration of the run.
        segment_s: duration of a segment in seconds.
        figures: what the model starts from.
    """
    value = {name: figure.value for name, figure in figures.items()}
    segments = max(_SEGMENTS, round(clip_s / segment_s))
    # Every frame is decoded, but that is small beside the network on a CPU.
    decode_core_s = clip_s * 25.0 / value["decoded_fps"]
    clip_core_s = segments * value["cpu_core_s"] + decode_core_s
    core_hours = clips * clip_core_s / 3600.0

    card_hours = {}
    for name, box in BOXES.items():
        if box.tera_per_s is not None:
            per_s = box.tera_per_s.value * 1e12 * value["card_share"] / (2e9 * value["giga_macs"])
            card_hours[name] = clips * segments / per_s / 3600.0

    # A machine that disappears loses the two files that each of its four workers had in work.
    lost_core_s = 4 * 2 * clip_core_s / 2
    return ArchivePlan(
        clips=clips,
        segments=segments,
        core_hours=core_hours,
        card_hours=card_hours,
        output_tb=clips * value["parquet_bytes"] / 1e12,
        machines=max(1, round(core_hours / hours / BOXES["cpu"].cores + 0.5)),
        hours=hours,
        lost_share=lost_core_s / (3600.0 * BOXES["cpu"].cores),
    )
