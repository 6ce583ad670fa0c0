"""Export a checkpoint: the order of the stages and their state.

Trace, rules, parity, calibrate, gate, time, report. Each stage is a function in a module of its
own; any of them may stop the export, and then nothing is written.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GateError
from gasmcast.export.bundle_writer import draft_bundle, write_manifest
from gasmcast.export.checks.accuracy_gate import GateVerdict
from gasmcast.export.checks.clip_choice import (
    calibration_set,
    check_clips,
    parity_clips,
    validation_clips,
)
from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.export.checks.judge import Judge, JudgedPrecision
from gasmcast.export.checks.torch_parity import require_parity, verify_against_torch
from gasmcast.export.graphs.rule_report import RuleReport
from gasmcast.export.graphs.rules import require_rules
from gasmcast.export.graphs.trace import export_onnx, is_streaming
from gasmcast.export.plan import ExportPlan, check_disk
from gasmcast.export.precisions.attempt import attempt
from gasmcast.export.precisions.prepare import Prepared, prepare
from gasmcast.export.precisions.search import sensitivity, sensitivity_report
from gasmcast.export.precisions.speed_notes import add_notes
from gasmcast.export.precisions.timing import time_graphs
from gasmcast.export.report.write import calibration_section, clips_section, write_reports
from gasmcast.export.result import ExportResult
from gasmcast.export.source import ExportSource
from gasmcast.manifest import Graph, Manifest, Measured
from gasmcast.precision import file_name, in_bf16, stored_as
from gasmcast.progress import Progress, silent

__all__ = ["export_bundle"]


def export_bundle(
    source: ExportSource,
    out: Path,
    plan: ExportPlan,
    *,
    data: Path | None = None,
    calibration: Path | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Write a verified bundle.

    Args:
        source: model and where it comes from.
        out: folder of the bundle; an older bundle there is replaced when the export is complete.
        plan: precisions and thresholds.
        data: data set in Something-Something-V2's format: its training split calibrates, its
            validation split judges.
        calibration: set made by `gasmcast calibrate`, used instead of the training split.
        progress: called with each stage.

    Returns:
        What was written. Precisions that failed the gate are in `failed` and not in the bundle.

    Raises:
        GateError: FP32 parity does not hold, FP32's outputs are not numbers, or a graph breaks a
            rule; nothing was written.
        UsageError: a precision without clips to calibrate and judge it, or bad data.
        MachineError: not enough disk space.
    """
    plan.check(data, is_streaming(source.model), calibration)
    check_clips(
        source.config.spec, data=data, calibration=calibration, calibrates=bool(plan.calibrated)
    )
    check_disk(out, source, plan.held_out if data is not None else plan.parity_clips)

    with (
        tempfile.TemporaryDirectory(prefix="gasmcast-export-") as scratch,
        draft_bundle(out) as draft,
    ):
        export = _Export(
            source,
            plan,
            data,
            calibration,
            draft=draft,
            scratch=Path(scratch),
            progress=progress,
        )
        export.trace()
        export.check_rules()
        export.read_clips()
        export.verify_parity()
        if data is not None:
            judge = export.gate_fp32()
            if plan.calibrated:
                prepared = export.calibrate()
                export.gate_calibrated(prepared, judge)
                export.measure_sensitivity(prepared)
            export.gate_bf16(judge)
        if plan.measure:
            export.time_precisions()
        manifest = export.write_reports()

    return ExportResult(
        path=out,
        manifest=manifest,
        verdicts=tuple(export.verdicts),
        not_judged=export.not_judged,
        report=export.report,
    )


class _Export:
    """State of one export; its methods are the stages, called in order."""

    def __init__(
        self,
        source: ExportSource,
        plan: ExportPlan,
        data: Path | None,
        calibration: Path | None,
        *,
        draft: Path,
        scratch: Path,
        progress: Progress,
    ) -> None:
        self.source, self.plan, self.progress = source, plan, progress
        self.data, self.calibration = data, calibration
        self.draft, self.scratch = draft, scratch
        self.spec = source.config.spec

        self.clips: Clips
        """Held-out clips, or the best that there are for parity."""
        self.paths: dict[str, Path] = {}
        """FP32 files by component."""
        self.graph_files: dict[str, tuple[Graph, str]] = {}
        """Component and precision of each file of the bundle."""
        self.fp32_outputs: Mapping[str, NDArray[np.float32]] = {}
        """Features and logits of the first clips, from the parity check."""
        self.rules: list[RuleReport] = []
        self.verdicts: list[GateVerdict] = []
        self.not_judged = dict(plan.left_out)
        self.total_ms: Mapping[str, float] = {}
        self.report: dict[str, Any] = {"steps_s": {}, "engines": {}, "deviation": {}}

    def trace(self) -> None:
        """Trace the FP32 graphs."""
        with self._timed("trace"):
            self.paths = export_onnx(self.source.model, self.draft, self.progress)
        self._record_files("fp32", self.paths)

    def check_rules(self) -> None:
        """Check the FP32 graphs against the rules of TensorRT's parser."""
        hint = "Nothing was written. Report the model's configuration."
        self.rules += require_rules(self.paths.values(), hint)

    def read_clips(self) -> None:
        """Read the held-out clips; without a data set, clips for parity alone."""
        plan = self.plan
        with self._timed("held-out clips"):
            if self.data is None:
                self.clips = parity_clips(
                    self.spec,
                    self.scratch,
                    calibration=self.calibration,
                    count=plan.parity_clips,
                )
                return
            self.clips = validation_clips(
                self.data,
                self.spec,
                self.source.labels,
                self.scratch,
                count=plan.held_out,
                seed=plan.seed,
                judged=plan.precisions[0] if plan.precisions else None,
                progress=self.progress,
            )

    def verify_parity(self) -> None:
        """Compare the FP32 graphs with torch on the first clips."""
        clips = self.clips.first(self.plan.parity_clips)
        with self._timed("parity"):
            parity = verify_against_torch(
                self.source.model,
                self.paths,
                clips.pixels,
                threads=self.plan.threads,
                progress=self.progress,
            )
        require_parity(parity)

        self.report["parity"] = {
            "clips": list(clips.ids),
            "origin": clips.origin,
            **parity.to_json(),
        }
        self.fp32_outputs = parity.streamed.get("openvino", {})

    def gate_fp32(self) -> Judge:
        """Judge FP32 for its own temperature and threshold, and return the judge."""
        judge = Judge(
            self.clips, self.fp32_outputs, self.plan.gate, self.plan.threads, self.progress
        )
        with self._timed("fp32"):
            judged = judge("fp32", self.paths)
        self._record_verdict("fp32", judged)

        if not judged:
            raise GateError(
                f"fp32 does not pass its own gate: {judged.verdict.reasons[0]}.",
                "Nothing was written. Check the weights.",
            )
        return judge

    def calibrate(self) -> Prepared:
        """Choose calibration clips and collect the ranges of all precisions."""
        plan = self.plan
        with self._timed("calibration clips"):
            stored = calibration_set(
                self.spec,
                self.scratch,
                data=self.data,
                calibration=self.calibration,
                count=plan.calibration_clips,
                seed=plan.seed,
                progress=self.progress,
            )
        with self._timed("calibration"):
            prepared = prepare(
                self.paths,
                stored,
                self.scratch,
                recipe=plan.recipe,
                policy=plan.policy,
                int8=any(p.startswith("int8") for p in plan.calibrated),
                fp16=any(p.endswith("fp16") for p in plan.calibrated),
                progress=self.progress,
                threads=plan.threads or 0,
            )
            self.report["calibration"] = calibration_section(prepared, plan.recipe, plan.policy)
        return prepared

    def gate_calibrated(self, prepared: Prepared, judge: Judge) -> None:
        """Write and judge the precisions that have files of their own."""
        policy = self.plan.policy
        for precision in self.plan.calibrated:
            with self._timed(precision):
                result = attempt(
                    prepared,
                    precision,
                    policy,
                    judge,
                    folder=self.draft,
                    scratch=self.scratch,
                    search=self.plan.search,
                    threads=self.plan.threads,
                    progress=self.progress,
                )
            # Blocks that INT8 does not bear stay in high precision in the next one too.
            policy = result.policy
            self.rules += result.rules
            self._record_files(precision, result.paths)
            self._record_verdict(precision, result.judged)
            if result.search is not None:
                self.report.setdefault("search", {})[precision] = result.search

    def measure_sensitivity(self, prepared: Prepared) -> None:
        """Rank the blocks by their loss under INT8, if asked for and not done by a search."""
        int8 = next((p for p in self.plan.calibrated if p.startswith("int8")), None)
        if not self.plan.sensitivity or int8 is None or "search" in self.report:
            return

        with self._timed("sensitivity"):
            losses = sensitivity(
                prepared,
                int8,
                self.plan.policy,
                self.scratch,
                threads=self.plan.threads,
                progress=self.progress,
            )
        self.report["search"] = {int8: sensitivity_report(losses)}

    def gate_bf16(self, judge: Judge) -> None:
        """Judge the precisions that compute the files of another one in BF16."""
        for precision in self.plan.precisions:
            if not in_bf16(precision):
                continue

            stored = stored_as(precision)
            if stored not in self._passed():
                self.not_judged[precision] = f"{stored}, whose files it runs, did not pass"
                continue

            with self._timed(precision):
                judged = judge(precision, self._files(precision))
            self._record_verdict(precision, judged)

    def time_precisions(self) -> None:
        """Time every precision that passed on this machine."""
        graphs = {precision: self._files(precision) for precision in self._passed()}
        with self._timed("measuring"):
            timings = time_graphs(graphs, threads=self.plan.threads, progress=self.progress)
            speed = add_notes(timings, self.spec)
        self.report["speed"] = speed.to_json()
        self.total_ms = speed.total_ms

    def write_reports(self) -> Manifest:
        """Write reports and manifest."""
        # Without labels no temperature can be fitted: `gasmcast eval` may have done it.
        eval_temperature = self.source.temperature if self.clips.labels is None else None
        if eval_temperature is not None:
            self.verdicts = [replace(v, temperature=eval_temperature) for v in self.verdicts]

        self.report |= {
            "checkpoint": self.source.name,
            "temperature_of_eval": eval_temperature,
            "random_weights": self.source.random,
            "clips": clips_section(self.clips),
            "rules": [report.to_json() for report in self.rules],
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "not_judged": self.not_judged,
            "files": {path.name: path.stat().st_size for path in sorted(self.draft.iterdir())},
        }
        write_reports(self.draft, self.report, self.source.labels, self.clips)
        return write_manifest(
            self.draft,
            self.graph_files,
            labels=self.source.labels,
            spec=self.spec,
            model=self.source.config.model.model_dump(mode="json"),
            checkpoint_sha256=self.source.sha256,
            precisions=self._measured(eval_temperature),
        )

    def _measured(self, eval_temperature: float | None) -> dict[str, Measured]:
        """Return the manifest's record of every precision in the bundle."""
        measured = {v.precision: v.measured() for v in self.verdicts if v}
        if eval_temperature is not None and not measured:
            measured["fp32"] = Measured(clips=0, temperature=eval_temperature)
        return {
            precision: record.model_copy(update={"ms": self.total_ms.get(precision)})
            for precision, record in measured.items()
        }

    def _passed(self) -> tuple[str, ...]:
        """Return the precisions in the bundle, FP32 first."""
        judged = [v.precision for v in self.verdicts if v and v.precision != "fp32"]
        return ("fp32", *judged)

    def _files(self, precision: str) -> dict[str, Path]:
        return {name: self.draft / file_name(name, precision) for name in self.paths}

    def _record_files(self, precision: str, paths: Mapping[str, Path]) -> None:
        for name, path in paths.items():
            graph: Graph = name  # type: ignore[assignment]
            self.graph_files[path.name] = (graph, precision)

    def _record_verdict(self, precision: str, judged: JudgedPrecision) -> None:
        self.verdicts.append(judged.verdict)
        self.report["engines"][precision] = judged.verdict.engine
        if judged.deviation:
            self.report["deviation"][precision] = [c.to_json() for c in judged.deviation]

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        """Add the time of the block, in seconds, to the report."""
        started = time.monotonic()
        yield
        steps_s = self.report["steps_s"]
        steps_s[step] = round(steps_s.get(step, 0.0) + time.monotonic() - started, 2)
