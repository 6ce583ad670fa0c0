"""Sentences about the timings of an export: surprises, the fastest, and the cost of a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gasmcast.export.precisions.timing import GraphTiming, SpeedReport, judged_timings
from gasmcast.runtime.engines import choose_backend
from gasmcast.spec import ClipSpec

__all__ = ["add_notes"]

_EXPECTED_FASTER = (
    ("int8", "fp32"),
    ("int8", "fp16"),
    ("int8", "bf16"),
    ("int8_bf16", "int8"),
    ("bf16", "fp32"),
    ("int8_fp16", "fp16"),
)
"""Pairs of precisions of which the first should be faster."""


def add_notes(speed: SpeedReport, spec: ClipSpec) -> SpeedReport:
    """Return the report with its notes.

    Args:
        speed: timings of an export.
        spec: sampling contract; a decision must take less than a segment.
    """
    judged = judged_timings(speed.timings)
    notes = []
    for component, best in speed.fastest.items():
        notes += _lost_notes(component, [t for t in judged if t.component == component])
        notes.append(_fastest_note(component, best))

    # The fastest engine of this machine was not timed: an export builds none.
    if choose_backend("auto")[0] == "tensorrt":
        notes.append(
            "TensorRT is here: `gasmcast engine build`, "
            "then measure it with `gasmcast bench live --engine tensorrt`"
        )
    notes += _cost_notes(speed, spec)
    return replace(speed, notes=tuple(notes))


def _lost_notes(component: str, timings: Sequence[GraphTiming]) -> list[str]:
    of = {timing.precision: timing for timing in timings}
    notes = []
    for small, large in _EXPECTED_FASTER:
        if small in of and large in of and of[large].median_ms < of[small].median_ms:
            against = _against(of[small], of[large])
            notes.append(f"{component}: {small.upper()} lost to {large.upper()} here ({against})")
    return notes


def _against(one: GraphTiming, other: GraphTiming) -> str:
    # A difference between engines is not one between precisions.
    if one.engine == other.engine:
        return f"{one.median_ms:.1f} ms against {other.median_ms:.1f} ms"
    return (
        f"{one.median_ms:.1f} ms on {one.engine} against {other.median_ms:.1f} ms on {other.engine}"
    )


def _fastest_note(component: str, best: GraphTiming) -> str:
    note = (
        f"{component}: {best.precision} on {best.engine} is the fastest here, "
        f"{best.median_ms:.1f} ms"
    )

    # The fastest may be a precision that a CPU does not run in production.
    if best.precision.endswith("fp16"):
        note += "; it was timed to compare, `live` does not take it on a CPU"
    return note


def _cost_notes(speed: SpeedReport, spec: ClipSpec) -> list[str]:
    if speed.taken is None or speed.taken not in speed.total_ms:
        return []

    # A decision is due once per segment.
    total_ms, segment_ms = speed.total_ms[speed.taken], 1000 * spec.segment_s
    share = 100 * total_ms / segment_ms
    note = (
        f"a decision in {speed.taken}, which a CPU takes, costs {total_ms:.0f} ms "
        f"of the {segment_ms:.0f} ms of a segment ({share:.0f} %)"
    )
    return [note]
