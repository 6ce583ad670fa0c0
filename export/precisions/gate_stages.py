"""Stages of an export that calibrate precisions and pass them through the accuracy gate."""

from __future__ import annotations

from gasmcast.calibration.tensor_stats import ActivationError
from gasmcast.errors import GateError
from gasmcast.export.checks.clip_choice import calibration_set
from gasmcast.export.checks.judge import Judge
from gasmcast.export.notes import overflow_notes
from gasmcast.export.precisions.attempt import attempt
from gasmcast.export.precisions.prepare import Prepared, prepare
from gasmcast.export.precisions.search import sensitivity, sensitivity_report
from gasmcast.export.report.write import calibration_section
from gasmcast.export.state import ExportState
from gasmcast.precision import in_bf16, stored_as

__all__ = ["calibrate", "gate_bf16", "gate_calibrated", "gate_fp32", "measure_sensitivity"]


def gate_fp32(export: ExportState) -> Judge:
    """Judge FP32, for its own temperature and threshold, and return the judge.

    Raises:
        GateError: FP32's outputs are not numbers.
    """
    plan = export.plan
    judge = Judge(
        export.clips,
        export.fp32_outputs,
        plan.gate,
        plan.threads,
        export.progress,
        background=export.background,
        teacher=export.source.teacher,
        fitted=export.fitted,
    )
    with export.timed("fp32"):
        judged = judge("fp32", export.paths)
    export.record_verdict(judged)

    # FP32 agrees with itself, so only broken weights can fail here.
    if not judged:
        raise GateError(
            f"fp32 does not pass its own gate: {judged.verdict.reasons[0]}.",
            "Nothing was written. Check the weights.",
        )
    return judge


def calibrate(export: ExportState) -> Prepared | None:
    """Choose calibration clips and collect the ranges of all precisions.

    Returns:
        None if activations are not numbers; all calibrated precisions are in `not_made` then.

    Raises:
        UsageError: bad calibration clips.
    """
    plan = export.plan
    with export.timed("calibration clips"):
        stored = calibration_set(
            export.spec,
            export.scratch,
            data=export.data,
            calibration=export.calibration,
            count=plan.calibration_clips,
            seed=plan.seed,
            progress=export.progress,
        )

    # Ranges are collected once, for all precisions that are written from them.
    with export.timed("calibration"):
        try:
            prepared = prepare(
                export.paths,
                stored,
                export.scratch,
                recipe=plan.recipe,
                policy=plan.policy,
                int8=any(p.startswith("int8") for p in plan.calibrated),
                fp16=any(p.endswith("fp16") for p in plan.calibrated),
                progress=export.progress,
                threads=plan.threads or 0,
            )
        # FP32 has passed its own gate, so it is exported all the same.
        except ActivationError as error:
            export.not_made |= {p: error.what.rstrip(".") for p in plan.calibrated}
            return None

        too_large = {name: c.too_large for name, c in prepared.calibrated.items()}
        export.notes += overflow_notes(too_large)
        export.report["calibration"] = calibration_section(prepared, plan.recipe, plan.policy)
    return prepared


def gate_calibrated(export: ExportState, prepared: Prepared, judge: Judge) -> None:
    """Write and judge the precisions that have files of their own.

    A precision that cannot be made is recorded in `not_made`; the others go on without it.
    """
    policy = export.plan.policy
    for precision in export.plan.calibrated:
        try:
            with export.timed(precision):
                result = attempt(
                    prepared,
                    precision,
                    policy,
                    judge,
                    folder=export.draft,
                    scratch=export.scratch,
                    search=export.plan.search,
                    threads=export.plan.threads,
                    progress=export.progress,
                )
        # A graph breaks a rule of TensorRT's parser: FP32 is sound all the same.
        except GateError as error:
            export.not_made[precision] = error.what.rstrip(".")
            continue

        # Blocks that one INT8 precision does not bear stay in high precision in the next one too.
        policy = result.policy
        export.rules += result.rules
        export.record_files(precision, result.paths)
        export.record_verdict(result.judged)
        if result.search is not None:
            export.report.setdefault("search", {})[precision] = result.search


def measure_sensitivity(export: ExportState, prepared: Prepared) -> None:
    """Rank the blocks by their loss under INT8, if the plan asks for it."""
    int8 = [p for p in export.plan.calibrated if p.startswith("int8")]
    already_ranked = "search" in export.report
    if not export.plan.sensitivity or not int8 or already_ranked:
        return

    with export.timed("sensitivity"):
        losses = sensitivity(
            prepared,
            int8[0],
            export.plan.policy,
            export.scratch,
            threads=export.plan.threads,
            progress=export.progress,
        )
    export.report["search"] = {int8[0]: sensitivity_report(losses)}


def gate_bf16(export: ExportState, judge: Judge) -> None:
    """Judge the precisions that compute the files of another one in BF16."""
    for precision in filter(in_bf16, export.plan.precisions):
        # Files that failed the gate were removed.
        stored = stored_as(precision)
        if stored not in export.passed():
            why = "could not be made" if stored in export.not_made else "did not pass"
            export.not_judged[precision] = f"{stored}, whose files it runs, {why}"
            continue

        with export.timed(precision):
            judged = judge(precision, export.files(precision))
        export.record_verdict(judged)
