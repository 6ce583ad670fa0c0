"""Machines whose speed was measured with `gasmcast bench live`, for plans of other machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gasmcast.plan.one_machine import Candidate

__all__ = ["MACHINES", "PRESETS", "Machine"]

PRESETS = ("ssv2", "edge", "lite", "nano")
"""Presets from the largest model to the smallest, which is the order of preference."""


@dataclass(frozen=True)
class Machine:
    """Machine with the measured cost of each preset."""

    text: str
    """What it is, in words."""
    source: str
    """Page of the measurement, and its date."""
    peak: Mapping[str, float]
    """Measured multiply-adds per second in 10^9, by `fp32` and `int8`."""
    costs: tuple[tuple[str, str, float, float], ...]
    """Preset, precision, milliseconds of a segment, milliseconds of a window."""

    def candidates(self, peak: Mapping[str, float] | None = None) -> list[Candidate]:
        """Return every measured model with its cost.

        Args:
            peak: measured peak of another machine, for which the costs are scaled by the ratio of
                the peaks; None: the costs as measured here.
        """
        found = []
        for preset in PRESETS:
            for name, precision, encode_ms, fuse_ms in self.costs:
                if name != preset:
                    continue
                # A remainder in BF16 is a small part of an INT8 graph.
                kind = "int8" if precision.startswith("int8") else "fp32"
                ratio = 1.0 if peak is None else self.peak[kind] / peak[kind]
                found.append(Candidate(name, precision, ratio * encode_ms, ratio * fuse_ms))
        return found


MACHINES = {
    "epyc-zen4-2": Machine(
        text="two cores of a shared x86-64 server (AMD EPYC, AVX-512 VNNI)",
        source="docs/experiments/small_models.md, 2026-11-28",
        peak={"fp32": 103.0, "int8": 364.0},
        # `ssv2` was measured two days earlier, at a peak of 399: docs/experiments/performance.md.
        costs=(
            ("ssv2", "int8_bf16", 229.0, 74.0),
            ("ssv2", "int8", 256.0, 91.0),
            ("ssv2", "fp32", 727.0, 210.0),
            ("edge", "int8_bf16", 143.4, 19.6),
            ("edge", "int8", 164.4, 17.3),
            ("edge", "fp32", 424.4, 37.2),
            ("lite", "int8_bf16", 73.1, 17.0),
            ("lite", "int8", 89.6, 13.9),
            ("lite", "fp32", 164.3, 18.4),
            ("nano", "int8_bf16", 24.2, 4.8),
            ("nano", "int8", 30.7, 4.4),
            ("nano", "fp32", 52.8, 4.3),
        ),
    ),
}
"""Measured machines by name."""
