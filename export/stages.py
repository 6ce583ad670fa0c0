"""Export a checkpoint: trace, rules, parity, calibrate, gate, time, report.

This module holds the order of the stages. Each stage's work is a function in a module of its own,
and any of them may stop the export; then nothing is written.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from gasmcast.data.background_windows import background_windows, find_background
from gasmcast.data.set_check import check_data
from gasmcast.evaluation.out_of_fold import read_logits, read_out_of_fold
from gasmcast.export.bundle_writer import check_target, draft_bundle, write_manifest
from gasmcast.export.checks.accuracy_gate import fit_elsewhere
from gasmcast.export.checks.clip_choice import check_clips, parity_clips, validation_clips
from gasmcast.export.checks.heldout_clips import background_clips
from gasmcast.export.checks.torch_parity import require_parity, verify_against_torch
from gasmcast.export.checks.twin_parity import require_same_logits
from gasmcast.export.export_plan import ExportPlan, check_disk
from gasmcast.export.graphs.attention_twins import write_twins
from gasmcast.export.graphs.rules import require_rules
from gasmcast.export.graphs.trace import export_onnx, is_streaming
from gasmcast.export.notes import chance_note, few_clips_note, live_note, trained_note
from gasmcast.export.precisions.gate_stages import (
    calibrate,
    gate_bf16,
    gate_calibrated,
    gate_fp32,
    measure_sensitivity,
)
from gasmcast.export.precisions.speed_notes import add_notes
from gasmcast.export.precisions.timing import time_graphs
from gasmcast.export.report.write import clips_section, write_reports
from gasmcast.export.result import ExportResult
from gasmcast.export.source import ExportSource, check_label_names
from gasmcast.export.state import ExportState
from gasmcast.manifest import Manifest, Measured
from gasmcast.progress import Progress, silent

__all__ = ["export_bundle"]


def export_bundle(
    source: ExportSource,
    out: Path,
    plan: ExportPlan,
    *,
    data: Path | None = None,
    calibration: Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> ExportResult:
    """Write a verified bundle.

    Args:
        source: model and where it comes from.
        out: folder of the bundle.
        plan: precisions and thresholds.
        data: data set in any format that `gasmcast.data` reads: its training split calibrates,
            its validation split judges.
        calibration: set made by `gasmcast calibrate`, used instead of the training split.
        force: replace a bundle in `out` when the export is complete.
        progress: called with each stage.

    Returns:
        What was written. Precisions that failed the gate are in `failed`, those that could not be
        made in `not_made`; neither are in the bundle.

    Raises:
        GateError: FP32 parity does not hold, FP32's outputs are not numbers, or an FP32 graph
            breaks a rule; nothing was written.
        UsageError: a precision without clips to calibrate and judge it, bad data, or a bundle in
            `out` without `force`.
        MachineError: not enough disk space.
    """
    # Whatever can be refused is refused before minutes of work.
    check_target(out, force)
    check_label_names(source.labels)
    plan.check(data, is_streaming(source.model), calibration)
    check_clips(
        source.config.spec, data=data, calibration=calibration, calibrates=bool(plan.calibrated)
    )
    videos = find_background(plan.background)

    # Clips are decoded to the disk, so their number decides how much space is needed.
    clips = plan.held_out * (2 if videos else 1) if data is not None else plan.parity_clips
    check_disk(out, source, clips, attention=plan.attention)

    with (
        tempfile.TemporaryDirectory(prefix="gasmcast-export-") as scratch,
        draft_bundle(out, force) as draft,
    ):
        export = ExportState(
            source=source,
            plan=plan,
            data=data,
            calibration=calibration,
            draft=draft,
            scratch=Path(scratch),
            progress=progress,
        )

        # FP32: graphs that compute what torch computes.
        _trace(export)
        _check_rules(export)
        _read_clips(export)
        _verify_parity(export)
        if plan.attention:
            _add_attention(export)

        # Other precisions are judged on held-out clips; without any, FP32 is exported alone.
        if data is not None:
            _read_background(export, videos, data)
            _calibrate_out_of_fold(export)
            judge = gate_fp32(export)
            if plan.calibrated:
                prepared = calibrate(export)
                if prepared is not None:
                    gate_calibrated(export, prepared, judge)
                    measure_sensitivity(export, prepared)
            gate_bf16(export, judge)

        # Reports hold times of the precisions that passed.
        if plan.measure:
            _time(export)
        manifest = _report(export)

    return ExportResult(
        path=out,
        manifest=manifest,
        verdicts=tuple(export.verdicts),
        not_judged=export.not_judged,
        not_made=export.not_made,
        report=export.report,
        notes=tuple(export.notes),
    )


def _trace(export: ExportState) -> None:
    with export.timed("trace"):
        export.paths = export_onnx(export.source.model, export.draft, export.progress)
    export.record_files("fp32", export.paths)


def _check_rules(export: ExportState) -> None:
    hint = "Nothing was written. Report the model's configuration."
    export.rules += require_rules(export.paths.values(), hint)


def _read_clips(export: ExportState) -> None:
    plan = export.plan
    with export.timed("held-out clips"):
        # Without a data set any clips serve: parity needs no labels.
        if export.data is None:
            export.clips = parity_clips(
                export.spec,
                export.scratch,
                calibration=export.calibration,
                count=plan.parity_clips,
            )
            return

        export.clips = validation_clips(
            export.data,
            export.spec,
            export.source.labels,
            export.scratch,
            run=export.source.run,
            count=plan.held_out,
            seed=plan.seed,
            judged=plan.precisions[0] if plan.precisions else None,
            progress=export.progress,
        )


def _read_background(export: ExportState, videos: list[Path], data: Path) -> None:
    """Read windows of the videos of background, and of the unlabeled time of the data set."""
    spec, plan = export.spec, export.plan
    windows = background_windows(videos, spec.window_s, plan.held_out, data=data)
    if windows or videos:
        with export.timed("background"):
            export.background = background_clips(
                windows, spec, export.scratch, progress=export.progress
            )


def _calibrate_out_of_fold(export: ExportState) -> None:
    """Fit temperature and threshold on the run's folds if the model was trained on the clips."""
    source = export.source
    if export.clips.origin != "training" or source.run is None:
        return

    # Logits of clips that were learned are too sure. Runs of older versions have no others.
    unseen = read_logits(source.run, len(source.labels))
    if unseen is not None:
        export.fitted = fit_elsewhere(*unseen, export.plan.gate.false_alarms)
    export.notes.append(
        trained_note(
            export.fitted,
            has_eval_temperature=source.temperature is not None,
            judged=read_out_of_fold(source.run),
        )
    )


def _verify_parity(export: ExportState) -> None:
    # Torch is slow on a CPU, so a few clips must do.
    clips = export.clips.first(export.plan.parity_clips)
    with export.timed("parity"):
        parity = verify_against_torch(
            export.source.model,
            export.paths,
            clips.pixels,
            threads=export.plan.threads,
            progress=export.progress,
        )
    require_parity(parity)

    export.report["parity"] = {
        "clips": list(clips.ids),
        "origin": clips.origin,
        **parity.to_json(),
    }

    # FP32 is judged on OpenVINO, which need not run these clips again.
    export.fp32_outputs = parity.streamed.get("openvino", {})


def _add_attention(export: ExportState) -> None:
    """Write the attention twins, and refuse them unless their logits are the same to the bit."""
    with export.timed("attention"):
        export.progress("attention twins")
        twins = write_twins(export.source.model, export.paths, export.draft)
        require_same_logits(
            export.paths,
            twins,
            export.clips.first(export.plan.parity_clips).pixels,
            threads=export.plan.threads,
        )
    for twin in twins:
        export.graph_files[twin.path.name] = (twin.graph, "fp32")
        export.maps[twin.path.name] = twin.maps


def _time(export: ExportState) -> None:
    graphs = {precision: export.files(precision) for precision in export.passed()}
    with export.timed("measuring"):
        timings = time_graphs(graphs, threads=export.plan.threads, progress=export.progress)
        speed = add_notes(timings, export.spec)
    export.report["speed"] = speed.to_json()
    export.total_ms = speed.total_ms


def _report(export: ExportState) -> Manifest:
    """Write reports and manifest."""
    source, clips = export.source, export.clips
    _add_notes(export)

    # Without labels no temperature can be fitted here: `gasmcast eval` may have done it.
    eval_temperature = source.temperature if clips.labels is None else None
    if eval_temperature is not None:
        export.verdicts = [replace(v, temperature=eval_temperature) for v in export.verdicts]

    export.report |= {
        "checkpoint": source.name,
        "temperature_of_eval": eval_temperature,
        "random_weights": source.random,
        "clips": clips_section(clips),
        "rules": [report.to_json() for report in export.rules],
        "verdicts": [verdict.to_json() for verdict in export.verdicts],
        "not_judged": export.not_judged,
        "not_made": export.not_made,
        "notes": export.notes,
        # Every file, for weights that are stored beside their graph count too.
        "files": {path.name: path.stat().st_size for path in sorted(export.draft.iterdir())},
    }
    write_reports(export.draft, export.report, source.labels, clips)

    # The manifest comes last: it holds the digests of all other files.
    return write_manifest(
        export.draft,
        export.graph_files,
        labels=source.labels,
        spec=export.spec,
        model=source.config.model.model_dump(mode="json"),
        checkpoint_sha256=source.sha256,
        precisions=_measured(export, eval_temperature),
        maps=export.maps,
        fits_clips=source.config.train.fit_window,
    )


def _add_notes(export: ExportState) -> None:
    """Add what a user must know about the model, the judges, and the choice of `live`."""
    labels = export.clips.labels
    notes = [] if export.data is None else [check_data(export.data).rstrip(".")]
    # A trial of a preset with random weights says so already.
    if export.verdicts and labels is not None and not export.source.random:
        classes = len(export.source.labels)
        notes.append(chance_note(export.verdicts[0], np.asarray(labels), classes))
    notes.append(few_clips_note(export.verdicts))
    if is_streaming(export.source.model):
        notes.append(live_note(export.passed(), export.total_ms))
    export.notes += [note for note in notes if note]


def _measured(export: ExportState, eval_temperature: float | None) -> dict[str, Measured]:
    """Return the manifest's record of every precision in the bundle."""
    records = {v.precision: v.measured() for v in export.verdicts if v}

    # FP32 has a record without a verdict if its temperature is known.
    if eval_temperature is not None and not records:
        records["fp32"] = Measured(clips=0, temperature=eval_temperature)
    return {
        precision: record.model_copy(update={"ms": export.total_ms.get(precision)})
        for precision, record in records.items()
    }
