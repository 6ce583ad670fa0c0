"""Choose the clips of an export: some judge it, others calibrate it; no clip does both."""

from __future__ import annotations

from pathlib import Path

from gasmcast.calibration.choose_clips import choose_clips, refuse_validation_clips, training_clips
from gasmcast.calibration.clip_store import CalibrationSet, write_set
from gasmcast.data.annotations import read_split
from gasmcast.data.set_check import check_data
from gasmcast.errors import UsageError
from gasmcast.export.checks.heldout_clips import Clips, held_out_clips, made_up_clips, stored_clips
from gasmcast.labels import Labels
from gasmcast.progress import Progress, silent
from gasmcast.spec import ClipSpec

__all__ = ["calibration_set", "check_clips", "parity_clips", "validation_clips"]

MIN_HELD_OUT = 8


def check_clips(
    spec: ClipSpec, *, data: Path | None, calibration: Path | None, calibrates: bool
) -> None:
    """Refuse sets that cannot judge or calibrate, before anything is started.

    Annotations and checksums are read, no clip is decoded.

    Args:
        spec: sampling contract.
        data: data set in any format that `gasmcast.data` reads.
        calibration: set made by `gasmcast calibrate`.
        calibrates: whether a precision is to be calibrated.

    Raises:
        UsageError: a split that is needed is missing, the calibration set is damaged or of another
            clip spec, or clips of the validation split are to calibrate.
    """
    # Clips that calibrate a precision would judge it too favorably.
    judges = [] if data is None else read_split(data, "validation")
    if data is not None:
        check_data(data)

    if calibration is not None:
        stored = CalibrationSet.open(calibration, spec)
        refuse_validation_clips(
            str(calibration),
            (entry.id for entry in stored.index.clips),
            (sample.id for sample in judges),
            "Make it from the training split of --data.",
        )
    elif data is not None and calibrates:
        training_clips(data)


def validation_clips(
    data: Path,
    spec: ClipSpec,
    labels: Labels,
    folder: Path,
    *,
    run: Path | None,
    count: int,
    seed: int,
    judged: str | None,
    progress: Progress = silent,
) -> Clips:
    """Return validation clips, as many as a verdict needs.

    Args:
        data: data set in any format that `gasmcast.data` reads.
        spec: sampling contract.
        labels: the model's classes.
        folder: folder of the clips while the export runs.
        run: run folder of the model; see `held_out_clips`.
        count: largest number of clips.
        seed: seed of the draw.
        judged: first precision that the clips will judge; None if they judge none.
        progress: called after each clip.

    Raises:
        UsageError: bad data, or fewer than `MIN_HELD_OUT` clips to judge a precision with.
    """
    clips = held_out_clips(
        data, spec, labels, folder, run=run, count=count, seed=seed, progress=progress
    )

    # Shares of very few clips pass or fail by chance.
    if judged is not None and len(clips) < MIN_HELD_OUT:
        raise UsageError(
            f"{len(clips)} validation clips that can be read are too few to judge {judged} by.",
            f"Give --data with at least {MIN_HELD_OUT}.",
        )
    return clips


def parity_clips(spec: ClipSpec, folder: Path, *, calibration: Path | None, count: int) -> Clips:
    """Return clips for parity alone: of a calibration set if there is one, else synthetic ones.

    Raises:
        UsageError: the calibration set is damaged or of another clip spec.
    """
    if calibration is not None:
        return stored_clips(CalibrationSet.open(calibration, spec), folder, count)
    return made_up_clips(spec, folder, count)


def calibration_set(
    spec: ClipSpec,
    folder: Path,
    *,
    data: Path | None,
    calibration: Path | None,
    count: int,
    seed: int,
    progress: Progress = silent,
) -> CalibrationSet:
    """Return the calibration set: the one given, or one chosen now from the training split.

    `check_clips` has made sure that none of its clips judges.

    Args:
        spec: sampling contract.
        folder: folder for the chosen clips while the export runs.
        data: data set in any format that `gasmcast.data` reads; needed without
            `calibration`.
        calibration: set made by `gasmcast calibrate`.
        count: number of clips to choose.
        seed: seed of the choice.
        progress: called after each clip.

    Raises:
        UsageError: the set is damaged or of another clip spec, or the training split has no clips
            that can be read.
    """
    if calibration is not None:
        return CalibrationSet.open(calibration, spec)

    assert data is not None, "ExportPlan.check has refused this"

    # Clips that cannot be read are skipped; `gasmcast calibrate` reports them.
    chosen, _ = choose_clips(
        training_clips(data),
        spec,
        count,
        seed,
        progress,
    )
    return write_set(
        folder / "calibration",
        chosen,
        spec,
        seed,
        progress,
    )
