"""The clips of an export: those that judge it, and those that calibrate it; no clip does both."""

from __future__ import annotations

from pathlib import Path

from gasmcast.calibration.choose_clips import (
    choose_clips,
    refuse_validation_clips,
    training_clips,
)
from gasmcast.calibration.clip_store import CalibrationSet, write_set
from gasmcast.data.annotations import read_split
from gasmcast.errors import UsageError
from gasmcast.export.checks.heldout_clips import Clips, held_out_clips, made_up_clips, stored_clips
from gasmcast.export.origin import Origin
from gasmcast.export.plan import ExportPlan
from gasmcast.progress import Progress
from gasmcast.spec import ClipSpec

__all__ = ["LEAST_JUDGES", "calibration_set", "check_clips", "judging_clips"]

Say = Progress
LEAST_JUDGES = 8


def check_clips(
    spec: ClipSpec, plan: ExportPlan, *, data: Path | None, calibration: Path | None
) -> None:
    """Refuse sets that cannot judge or calibrate before anything is started: lists and checksums are read, no clip.

    Raises:
        UsageError: a set without the splits that are needed, a damaged calibration set, one of another clip spec, or clips of the
            validation split that are to calibrate.
    """
    judges = [] if data is None else read_split(data, "validation")
    if calibration is not None:
        given = CalibrationSet.open(calibration, spec)
        hint = "Make it from the training split of --data."
        refuse_validation_clips(
            str(calibration),
            (entry.id for entry in given.index.clips),
            (s.id for s in judges),
            hint,
        )
    elif data is not None and plan.calibrated:
        training_clips(data)


def judging_clips(
    origin: Origin,
    plan: ExportPlan,
    folder: Path,
    *,
    data: Path | None,
    calibration: Path | None,
    say: Say,
) -> Clips:
    """Validation clips; without a set the calibration's, or made-up ones, which are good for parity alone.

    Args:
        origin: the model, its labels and clip spec.
        plan: how many, and what is to be judged.
        folder: where they are kept while the export runs.
        data: the set.
        calibration: a set made by `gasmcast calibrate`.
        say: called with the step, and how much of how much is done.

    Raises:
        UsageError: bad data, or fewer than `LEAST_JUDGES` clips for a precision that is to be judged.
    """
    spec = origin.config.spec
    if data is None:
        if calibration is not None:
            return stored_clips(CalibrationSet.open(calibration, spec), folder, plan.parity_clips)
        return made_up_clips(spec, folder, plan.parity_clips)
    clips = held_out_clips(
        data,
        spec,
        origin.labels,
        folder,
        count=plan.held_out,
        seed=plan.seed,
        each=lambda done, of: say("reading held-out clips", done, of),
    )
    if plan.precisions and len(clips) < LEAST_JUDGES:
        raise UsageError(
            f"{len(clips)} validation clips that can be read are too few to judge {plan.precisions[0]} by.",
            f"Give --data with at least {LEAST_JUDGES}.",
        )
    return clips


def calibration_set(
    spec: ClipSpec,
    plan: ExportPlan,
    folder: Path,
    *,
    data: Path | None,
    calibration: Path | None,
    say: Say,
) -> CalibrationSet:
    """The calibration set: the one given, or one chosen from the training split now; `check_clips` has seen to it that neither judges.

    Raises:
        UsageError: a damaged set, one of another clip spec, or a training split without clips that can be read.
    """
    if calibration is not None:
        return CalibrationSet.open(calibration, spec)
    assert data is not None  # `ExportPlan.check`
    chosen, _ = choose_clips(
        training_clips(data),
        spec,
        plan.calibration_clips,
        plan.seed,
        say,
    )
    return write_set(
        folder / "calibration",
        chosen,
        spec,
        plan.seed,
        say,
    )
