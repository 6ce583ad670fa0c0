"""What an export is asked for, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gasmcast.calibration.policy import Policy
from gasmcast.calibration.quantize import Recipe
from gasmcast.errors import MachineError, UsageError
from gasmcast.export.checks.accuracy_gate import GateRecipe, Verdict
from gasmcast.manifest import Manifest
from gasmcast.precision import PRECISIONS, in_bf16, stored_as
from gasmcast.runtime.engines import missing_bf16

__all__ = ["ExportPlan", "ExportResult", "left_out", "wanted_precisions"]


def wanted_precisions(asked: Sequence[str]) -> tuple[str, ...]:
    """What `--precision` asks for, in the order in which it is made, with those whose files another runs.

    `all` is what can be judged on this machine.

    Raises:
        UsageError: an unknown precision.
        MachineError: BF16 is asked for by name, and cannot be judged here.
    """
    unknown = [p for p in asked if p not in (*PRECISIONS, "all")]
    if unknown:
        raise UsageError(
            f"No precision {unknown[0]!r}.", f"Precisions: {', '.join(PRECISIONS)}, all."
        )
    lacking = missing_bf16("openvino") if "all" in asked or any(map(in_bf16, asked)) else ""
    if lacking and (named := next(filter(in_bf16, asked), "")):
        raise MachineError(
            f"{named} can only be judged where it can be run, and {lacking}.",
            "Export on a machine that has it.",
        )
    able = [p for p in PRECISIONS if not (lacking and in_bf16(p))]
    return tuple(
        p
        for p in able
        if p != "fp32" and ("all" in asked or p in asked or p in map(stored_as, asked))
    )


def left_out(asked: Sequence[str]) -> dict[str, str]:
    """The precisions that `all` means and that cannot be judged on this machine, each with the reason."""
    lacking = missing_bf16("openvino") if "all" in asked else ""
    return {p: lacking for p in PRECISIONS if lacking and in_bf16(p)}


@dataclass(frozen=True)
class ExportPlan:
    """What to export and how hard to look."""

    precisions: tuple[str, ...] = ()
    """Beside FP32, which is always there; as `wanted_precisions` gives them."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why precisions that were asked for are not among them, for the report; as `left_out` gives it."""
    calibration_clips: int = 64
    held_out: int = 256
    parity_clips: int = 4
    seed: int = 0
    threads: int | None = None
    recipe: Recipe = field(default=Recipe())
    policy: Policy = field(default=Policy())
    gate: GateRecipe = field(default=GateRecipe())
    search: bool = True
    """Move the worst blocks back to high precision when INT8 fails the gate."""
    sensitivity: bool = False
    """Measure every block's loss under INT8 even when the gate holds."""
    measure: bool = True
    """Time every precision on this machine's engines and pick the fastest."""

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The precisions that have files of their own, made from calibration clips."""
        return tuple(p for p in self.precisions if stored_as(p) == p)

    def check(self, data: Path | None, streaming: bool, calibration: Path | None = None) -> None:
        """Refuse what cannot be done, before anything is started.

        Raises:
            UsageError: no clips to judge a precision on, clips for no precision, or a model without streaming graphs.
        """
        if self.precisions and data is None:
            raise UsageError(
                f"{self.precisions[0]} is only written after held-out clips have judged it, and there are none.",
                "Give --data with a training and a validation split.",
            )
        if calibration is not None and data is not None and not self.calibrated:
            raise UsageError(
                "A calibration set is for INT8 and FP16, and neither was asked for.",
                "Add --precision all.",
            )
        if self.precisions and not streaming:
            raise UsageError(
                "A model whose motion stream sees the whole clip exports in FP32 only.",
                "Leave --precision away.",
            )


@dataclass(frozen=True)
class ExportResult:
    """A bundle that was written, and what was left out of it."""

    path: Path
    manifest: Manifest
    verdicts: tuple[Verdict, ...]
    not_judged: Mapping[str, str]
    """Precisions that were asked for and that nothing could judge, each with the reason; they are not in the bundle."""
    report: dict[str, Any]

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """Precisions that did not pass the gate; their graphs are not in the bundle."""
        return tuple(v for v in self.verdicts if not v)
