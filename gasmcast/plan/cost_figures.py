"""Figures that the cost model starts from, each with its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BOXES", "FIGURES", "TRAINING_CARD", "TRAINING_FIGURES", "Box", "Figure", "with_given"]


@dataclass(frozen=True)
class Figure:
    """Number with its unit and where it comes from."""

    value: float
    unit: str
    source: str
    measured: bool = False
    """Measured with gasmcast; otherwise a data sheet, a publication or an assumption."""

    def __str__(self) -> str:
        kind = "measured" if self.measured else "assumed"
        return f"{self.value:g} {self.unit} ({kind}: {self.source})"


@dataclass(frozen=True)
class Box:
    """Machine of a fleet."""

    name: str
    cores: int
    """CPU cores; they decode, and without a card they compute, too."""
    tera_per_s: Figure | None = None
    """Dense FP16 operations per second of the card, in 10^12; None: no card."""


FIGURES = {
    "giga_macs": Figure(
        96, "G multiply-adds a decision", "gasmcast inspect, preset ssv2", measured=True
    ),
    "cpu_core_s": Figure(
        0.601, "core seconds a decision", "docs/experiments/performance.md, M2, INT8 and BF16", True
    ),
    "cpu_camera_mb": Figure(42, "MB a camera", "docs/experiments/performance.md", True),
    "decision_bytes": Figure(652, "bytes", "length of a decision as JSON", True),
    "event_bytes": Figure(277, "bytes", "length of an event as JSON", True),
    "parquet_bytes": Figure(
        6850, "bytes a clip", "docs/experiments/archives.md, 218 short clips", True
    ),
    "card_share": Figure(0.3, "of a card's peak", "assumption; no card was measured"),
    "decoded_fps": Figure(
        205, "frames a core second", "PyAV, Daft issue 7201, 2026-07; 1080p takes more"
    ),
    "stream_mbit": Figure(4.0, "Mbit/s a camera", "assumption: 1080p, H.264, 25 fps"),
    "events_per_hour": Figure(60, "events a camera and hour", "assumption"),
    "headroom": Figure(0.7, "of the capacity is used", "assumption: bursts, one box that fails"),
}
"""Figures of fleets and archives by name; those that depend on the site can be replaced."""

TRAINING_CARD = "H100 SXM"
TRAINING_FIGURES = {
    "train_peak": Figure(
        989,
        "T operations/s",
        "NVIDIA's nominal figure for the H100 SXM, BF16: data sheet, 1,979 with sparsity, halved",
    ),
    "card_share": FIGURES["card_share"],
    "train_tera_ops": Figure(
        1.4, "T operations a training clip", "counted, preset ssv2: docs/howto/ssv2.md"
    ),
    "batch_clips": Figure(8, "clips of a card and step", "train.batch_size of the preset ssv2"),
    "gradient_mb": Figure(68, "MB of gradients", "17.1 M trained parameters: docs/howto/ssv2.md"),
    "core_clips_s": Figure(
        10,
        "training clips a core second",
        "gasmcast bench data, docs/experiments/training.md, M1, clips of 30 frames a second",
        measured=True,
    ),
    "clip_kb": Figure(103, "kB a clip", "20 GB of 193,690 clips: docs/howto/ssv2.md"),
    "node_cores": Figure(64, "cores of a machine of eight cards", "assumption"),
    "node_gb_s": Figure(
        100, "GB/s between cards of a machine", "assumption; nominal NVLink 4 is 450 a direction"
    ),
    "network_gbit": Figure(100, "Gbit/s between machines", "assumption"),
}
"""Figures of training by name."""

# Dense FP16 with 32-bit sums. The vendor's documents were read in quotations, not themselves.
_ORIN = "nominal: Jetson AGX Orin Series Technical Brief, 170 sparse INT8, of which a quarter"
_L4 = "nominal: NVIDIA L4 data sheet, 242 with sparsity, halved"
_RTX = "nominal: NVIDIA Ada GPU Architecture white paper, 165.2"

BOXES = {
    "cpu": Box("CPU box, 16 cores", 16),
    "orin": Box("Jetson AGX Orin", 12, Figure(43, "T operations/s", _ORIN)),
    "l4": Box("server with an L4", 16, Figure(121, "T operations/s", _L4)),
    "rtx": Box("PC with an RTX 4090", 16, Figure(165, "T operations/s", _RTX)),
}


def with_given(figures: Mapping[str, Figure], **values: float | None) -> dict[str, Figure]:
    """Return figures with the values of a site in the place of those here; None changes nothing."""
    replaced = dict(figures)
    for name, value in values.items():
        if value is not None:
            replaced[name] = Figure(value, figures[name].unit, "given")
    return replaced
