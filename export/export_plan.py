"""Plan of an export, and the checks that it passes before anything starts."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gasmcast.calibration.policy import Policy
from gasmcast.calibration.quantize import Recipe
from gasmcast.errors import MachineError, UsageError
from gasmcast.export.checks.gate_verdict import GateRecipe
from gasmcast.export.source import ExportSource
from gasmcast.precision import PRECISIONS, in_bf16, stored_as
from gasmcast.runtime.engines import missing_bf16

__all__ = ["ExportPlan", "check_disk", "left_out", "wanted_precisions"]


def wanted_precisions(requested: Sequence[str]) -> tuple[str, ...]:
    """Return the precisions to export beside FP32, in the order in which they are made.

    `all` means every precision that can be judged on this machine. A precision that runs the files
    of another one brings that one along.

    Args:
        requested: values of `--precision`.

    Raises:
        UsageError: an unknown precision.
        MachineError: BF16 is requested by name, and cannot be judged on this machine.
    """
    for name in requested:
        if name not in (*PRECISIONS, "all"):
            raise UsageError(
                f"No precision {name!r}.", f"Precisions: {', '.join(PRECISIONS)}, all."
            )

    # BF16 is looked up only if it matters: the look-up opens OpenVINO.
    everything = "all" in requested
    named_bf16 = [p for p in requested if in_bf16(p)]
    lacking = missing_bf16("openvino") if everything or named_bf16 else ""
    if lacking and named_bf16:
        raise MachineError(
            f"{named_bf16[0]} can only be judged where it can be run, and {lacking}.",
            "Export on a machine that has it.",
        )

    # A precision without files needs the one whose files it runs.
    needed = {*requested, *(stored_as(p) for p in requested)}
    able = [p for p in PRECISIONS if p != "fp32" and not (lacking and in_bf16(p))]
    return tuple(p for p in able if everything or p in needed)


def left_out(requested: Sequence[str]) -> dict[str, str]:
    """Return the precisions of `all` that this machine cannot judge, each with its reason."""
    lacking = missing_bf16("openvino") if "all" in requested else ""
    return {p: lacking for p in PRECISIONS if lacking and in_bf16(p)}


@dataclass(frozen=True)
class ExportPlan:
    """Precisions to export, and how they are calibrated, judged and timed."""

    precisions: tuple[str, ...] = ()
    """Precisions beside FP32, which is always exported; from `wanted_precisions`."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Requested precisions that are not among them, each with its reason; from `left_out`."""
    calibration_clips: int = 64
    held_out: int = 256
    """Largest number of validation clips that judge."""
    parity_clips: int = 4
    seed: int = 0
    threads: int | None = None
    """CPU threads; all cores if None."""
    recipe: Recipe = field(default=Recipe())
    policy: Policy = field(default=Policy())
    gate: GateRecipe = field(default=GateRecipe())
    search: bool = True
    """Move the worst blocks back to high precision when INT8 fails the gate."""
    sensitivity: bool = False
    """Measure the loss of every block under INT8 even when the gate passes."""
    measure: bool = True
    """Time every precision on this machine's engines and report the fastest."""
    background: tuple[Path, ...] = ()
    """Videos and folders of videos in which no action happens."""
    attention: bool = False
    """Also write the attention twins of encoder and head."""

    @property
    def calibrated(self) -> tuple[str, ...]:
        """Precisions that have files of their own, made from calibration clips."""
        return tuple(p for p in self.precisions if stored_as(p) == p)

    def check(self, data: Path | None, streaming: bool, calibration: Path | None = None) -> None:
        """Refuse what cannot be done, before anything is started.

        Args:
            data: data set with a training and a validation split.
            streaming: whether the model has a segment encoder.
            calibration: set made by `gasmcast calibrate`.

        Raises:
            UsageError: no clips to judge a precision with, calibration clips for no precision, or a
                model without streaming graphs.
        """
        if self.precisions and data is None:
            raise UsageError(
                f"{self.precisions[0]} is only written after held-out clips have judged it, and "
                "there are none.",
                "Give --data with a training and a validation split.",
            )

        if self.background and data is None:
            raise UsageError(
                "The no-action threshold is chosen on held-out clips and background together, and"
                " there are no held-out clips.",
                "Give --data with a training and a validation split.",
            )

        # Without a data set, a calibration set still serves the parity check.
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
        if self.attention and not streaming:
            raise UsageError(
                "A model whose motion stream sees the whole clip has no encoder and head, so it "
                "has no attention twins.",
                "Leave --attention away; `gasmcast explain --checkpoint` shows its attention.",
            )


def check_disk(out: Path, source: ExportSource, clips: int, *, attention: bool = False) -> None:
    """Check that the disks have room for a bundle, and for the temporary files of its export.

    Args:
        out: folder of the bundle.
        source: model that is exported.
        clips: number of held-out clips.
        attention: whether attention twins are written, in FP32.

    Raises:
        MachineError: one of the two disks has too little space.
    """
    # Encoder and head, and both again as the complete graph, in up to four precisions of
    # 4 + 1 + 2 + 1 bytes per weight.
    weights = sum(p.numel() for p in source.model.parameters())
    copies = 2 * 8 + (4 if attention else 0)
    resolved = out.parent.resolve()
    parent = next(p for p in (resolved, *resolved.parents) if p.exists())
    _check_free(
        parent, copies * weights + 50_000_000, "Free some disk space, or give another --out."
    )

    # Held-out clips, one trial graph of the search, features. Writing to a memory map on a full
    # disk would kill the process without a message.
    clip_bytes = math.prod(source.config.spec.clip_shape)
    _check_free(
        Path(tempfile.gettempdir()),
        clips * clip_bytes + 4 * weights + 400_000_000,
        "Free some disk space, name another folder in TMPDIR, or give fewer --held-out clips.",
    )


def _check_free(folder: Path, wanted: float, hint: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise MachineError(
            f"{folder} has {free / 1e9:.1f} GB free, this export may need {wanted / 1e9:.1f} GB.",
            hint,
        )
