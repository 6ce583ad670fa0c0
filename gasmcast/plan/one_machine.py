"""Which model serves a number of cameras on one machine, and what would have to change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MAX_LOAD", "Candidate", "MachinePlan", "plan_machine"]

MAX_LOAD = 0.9
"""Share of the time that may be planned for; `gasmcast live` admits cameras by the same share."""


@dataclass(frozen=True)
class Candidate:
    """Model in one precision, with its cost on the machine."""

    model: str
    """Name of a preset or bundle."""
    precision: str
    encode_ms: float
    """Milliseconds of one segment."""
    fuse_ms: float
    """Milliseconds of one window."""
    segment_s: float = 0.5

    def hop_ms(self, segments: int) -> float:
        """Return the milliseconds that one camera costs from one decision to the next."""
        return segments * self.encode_ms + self.fuse_ms

    def cameras(self, segments: int) -> int:
        """Return how many cameras have a decision every `segments` segments."""
        available_ms = 1000.0 * MAX_LOAD * self.segment_s * segments
        return math.floor(available_ms / self.hop_ms(segments) + 1e-9)


@dataclass(frozen=True)
class MachinePlan:
    """Answer for one number of cameras."""

    cameras: int
    hop_s: float
    candidates: tuple[Candidate, ...]
    """The fastest precision of each model, in the given order of models."""
    chosen: Candidate | None
    """First model that serves all cameras; None if none does."""

    def served(self, candidate: Candidate) -> int:
        """Return how many cameras a candidate serves at the hop of this plan."""
        return candidate.cameras(self._segments(candidate))

    def arithmetic(self, candidate: Candidate) -> str:
        """Return the load of a candidate as a formula."""
        segments = self._segments(candidate)
        needed_ms = self.cameras * candidate.hop_ms(segments)
        limit_ms = 1000.0 * MAX_LOAD * self.hop_s
        encode = f"{segments} x " if segments > 1 else ""
        return (
            f"{self.cameras} x ({encode}{candidate.encode_ms:.1f} + {candidate.fuse_ms:.1f}) ms = "
            f"{needed_ms:.0f} of {limit_ms:.0f} ms"
        )

    def change(self, candidate: Candidate) -> str:
        """Return what would have to change for a candidate to serve all cameras; empty if none."""
        served = self.served(candidate)
        if served >= self.cameras:
            return ""
        segments = self._segments(candidate)
        faster = self.cameras * candidate.hop_ms(segments) / (1000.0 * MAX_LOAD * self.hop_s)
        ways = [f"a machine {faster:.1f} times as fast"]
        if served:
            ways.append(f"{math.ceil(self.cameras / served)} machines like this one")

        # Every segment is encoded at any hop, so a longer hop saves heads alone.
        spare_ms = 1000.0 * MAX_LOAD * candidate.segment_s - self.cameras * candidate.encode_ms
        if spare_ms > 0:
            hops = math.ceil(self.cameras * candidate.fuse_ms / spare_ms - 1e-9)
            ways.append(f"a hop of {hops * candidate.segment_s:g} s")
        return " or ".join(ways)

    def sentence(self) -> str:
        """Return the answer in one sentence."""
        wanted = f"{_cameras(self.cameras)} with a decision every {self.hop_s:g} s"
        if self.chosen is not None:
            return f"{self.chosen.model} in {self.chosen.precision} serves {wanted}."
        most = max(self.candidates, key=self.served)
        served = self.served(most)
        here = f"{most.model} in {most.precision} serves {served or 'none'}"
        return f"Nothing serves {wanted} here: {here}; it takes {self.change(most)}."

    def _segments(self, candidate: Candidate) -> int:
        return round(self.hop_s / candidate.segment_s)


def plan_machine(cameras: int, hop_s: float, candidates: Sequence[Candidate]) -> MachinePlan:
    """Choose the first model that serves all cameras, in its fastest precision.

    Args:
        cameras: number of cameras.
        hop_s: seconds between two decisions of a camera, a multiple of every `segment_s`.
        candidates: models in the order of preference, each in any number of precisions.
    """
    fastest: dict[str, Candidate] = {}
    for candidate in candidates:
        segments = round(hop_s / candidate.segment_s)
        known = fastest.get(candidate.model)
        if known is None or candidate.hop_ms(segments) < known.hop_ms(segments):
            fastest[candidate.model] = candidate
    plan = MachinePlan(cameras, hop_s, tuple(fastest.values()), None)
    for candidate in plan.candidates:
        if plan.served(candidate) >= cameras:
            return MachinePlan(cameras, hop_s, plan.candidates, candidate)
    return plan


def _cameras(count: int) -> str:
    return f"{count} camera{'s' if count > 1 else ''}"
