"""`gasmcast export`, step by step: trace, check, compare, calibrate, write, judge, measure, report; each step may stop it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GateError
from gasmcast.export.bundle_writer import draft_bundle, write_manifest
from gasmcast.export.checks.accuracy_gate import Verdict
from gasmcast.export.checks.clip_choice import calibration_set, check_clips, judging_clips
from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.export.checks.judge import Judge, Judged
from gasmcast.export.checks.torch_parity import verify_against_torch
from gasmcast.export.disk import check_disk
from gasmcast.export.graphs.rules import RuleReport, check_rules
from gasmcast.export.graphs.trace import export_onnx, is_streaming
from gasmcast.export.origin import Origin
from gasmcast.export.plan import ExportPlan, ExportResult
from gasmcast.export.precisions.attempt import attempt
from gasmcast.export.precisions.prepare import prepare
from gasmcast.export.precisions.search import sensitivity
from gasmcast.export.precisions.timing import pick
from gasmcast.export.report.write import calibration_figures, write_reports
from gasmcast.manifest import Graph, Manifest, Measured
from gasmcast.precision import file_name, in_bf16, stored_as

__all__ = ["export_bundle"]

Say = Callable[[str, int, int], None]


def export_bundle(
    origin: Origin,
    out: Path,
    plan: ExportPlan,
    *,
    data: Path | None = None,
    calibration: Path | None = None,
    say: Say | None = None,
) -> ExportResult:
    """Write a verified bundle.

    Args:
        origin: the model and where it comes from.
        out: the bundle's folder; an older bundle there is replaced when all is done.
        plan: precisions and thresholds.
        data: a set in Something-Something-V2's format: its training split calibrates, its validation split judges.
        calibration: a set made by `gasmcast calibrate`, in place of choosing clips from `data`.
        say: called with the step, and how much of how much is done.

    Returns:
        what was written; precisions that failed the gate are in `failed` and not in the bundle.

    Raises:
        GateError: FP32 parity does not hold, FP32 gives what are no numbers, or a graph breaks a rule; nothing was written.
        UsageError: a precision was asked for without clips to calibrate and judge it on; bad data.
        MachineError: no room on the disk.
    """
    plan.check(data, is_streaming(origin.model), calibration)
    check_clips(origin.config.spec, plan, data=data, calibration=calibration)
    check_disk(out, origin, plan.held_out if data is not None else plan.parity_clips)
    with (
        tempfile.TemporaryDirectory(prefix="gasmcast-export-") as scratch,
        draft_bundle(out) as draft,
    ):
        work = _Export(
            origin,
            plan,
            data,
            calibration,
            say=say or (lambda *_: None),
            draft=draft,
            scratch=Path(scratch),
        )
        work.graphs()
        work.precisions()
        manifest = work.finish()
    return ExportResult(out, manifest, tuple(work.verdicts), work.not_judged, work.report)


class _Export:
    """The state of one export; its methods run in order."""

    def __init__(
        self,
        origin: Origin,
        plan: ExportPlan,
        data: Path | None,
        calibration: Path | None,
        *,
        say: Say,
        draft: Path,
        scratch: Path,
    ) -> None:
        self.origin, self.plan, self.say = origin, plan, say
        self.data, self.calibration = data, calibration
        self.draft, self.scratch = draft, scratch
        self.spec = origin.config.spec
        self.written: dict[str, tuple[Graph, str]] = {}
        self.verdicts: list[Verdict] = []
        self.not_judged = dict(plan.left_out)
        self.rules: list[RuleReport] = []
        self.report: dict[str, Any] = {"steps_s": {}, "engines": {}, "deviation": {}}
        self.paths: dict[str, Path] = {}
        self.total_ms: Mapping[str, float] = {}
        self._clips: Clips | None = None
        self._fp32: Mapping[
            str, NDArray[np.float32]
        ] = {}  # features and logits of the first clips, from parity
        self._since = time.monotonic()

    def graphs(self) -> None:
        """FP32: trace, check the rules, compare with torch."""
        self.paths = export_onnx(
            self.origin.model, self.draft, lambda name: self.say(f"tracing {name}", 0, 0)
        )
        self._done("trace")
        self.rules = [check_rules(path) for path in self.paths.values()]
        broken = next((r for r in self.rules if not r), None)
        if broken is not None:
            raise GateError(f"{broken}.", "Nothing was written. Report the model's configuration.")
        self._record("fp32", self.paths)
        probe = self.clips().first(self.plan.parity_clips)
        self._done("held-out clips")
        parity = verify_against_torch(
            self.origin.model,
            self.paths,
            probe.pixels,
            threads=self.plan.threads,
            each=lambda what: self.say(f"parity: {what}", 0, 0),
        )
        self._done("parity")
        self.report["parity"] = {
            "clips": list(probe.ids),
            "origin": probe.origin,
            **parity.to_json(),
        }
        self._fp32 = parity.streamed.get("openvino", {})
        if not parity:
            raise GateError(f"{str(parity)[0].upper()}{str(parity)[1:]}.", "Nothing was written.")

    def clips(self) -> Clips:
        """Held-out clips, or the best there is for parity; read once."""
        if self._clips is None:
            self._clips = judging_clips(
                self.origin,
                self.plan,
                self.scratch,
                data=self.data,
                calibration=self.calibration,
                say=self.say,
            )
        return self._clips

    def precisions(self) -> None:
        """FP16, INT8, BF16: calibrate once, then write and judge each; FP32 is judged too, for its own temperature and threshold."""
        if self.clips().origin == "validation":
            judge = Judge(self.clips(), self._fp32, self.plan.gate, self.plan.threads, self.say)
            self._take("fp32", judge("fp32", self.paths))
            if not self.verdicts[0]:
                raise GateError(
                    f"fp32 does not pass its own gate: {self.verdicts[0].reasons[0]}.",
                    "Nothing was written. Check the weights.",
                )
            if self.plan.calibrated:
                self._calibrated(judge)
            for precision in filter(in_bf16, self.plan.precisions):
                if (stored := stored_as(precision)) in ("fp32", *self._passed()):
                    self._take(precision, judge(precision, self._files(precision)))
                else:
                    self.not_judged[precision] = f"{stored}, whose files it runs, did not pass"
        if self.plan.measure:
            picked = pick(
                {p: self._files(p) for p in ("fp32", *self._passed())},
                self.spec,
                self.plan.threads,
                lambda what: self.say(f"measuring {what}", 0, 0),
            )
            self.report["speed"] = picked.to_json()
            self.total_ms = picked.total_ms
            self._done("measuring")

    def _files(self, precision: str) -> dict[str, Path]:
        return {name: self.draft / file_name(name, precision) for name in self.paths}

    def _passed(self) -> tuple[str, ...]:
        return tuple(v.precision for v in self.verdicts if v and v.precision != "fp32")

    def _take(self, precision: str, judged: Judged) -> None:
        """Into the report."""
        self.verdicts.append(judged.verdict)
        self.report["engines"][precision] = judged.verdict.engine
        if judged.deviation:
            self.report["deviation"][precision] = [c.to_json() for c in judged.deviation]
        self._done(precision)

    def _calibrated(self, judge: Judge) -> None:
        """The precisions that have files of their own."""
        plan = self.plan
        wanted = plan.calibrated
        stored = calibration_set(
            self.spec,
            plan,
            self.scratch,
            data=self.data,
            calibration=self.calibration,
            say=self.say,
        )
        self._done("calibration clips")
        prepared = prepare(
            self.paths,
            stored,
            self.scratch,
            recipe=plan.recipe,
            policy=plan.policy,
            int8=any(p.startswith("int8") for p in wanted),
            fp16=any(p.endswith("fp16") for p in wanted),
            each=self.say,
            threads=plan.threads or 0,
        )
        self.report["calibration"] = {
            **calibration_figures(stored, prepared),
            "recipe": asdict(plan.recipe),
            "policy": asdict(plan.policy),
        }
        self._done("calibration")
        policy = plan.policy
        for precision in wanted:
            tried = attempt(
                prepared,
                precision,
                policy,
                judge,
                plan,
                folder=self.draft,
                scratch=self.scratch,
                say=self.say,
            )
            policy = tried.policy
            self.rules += tried.rules
            self._record(precision, tried.paths)
            if tried.search is not None:
                self.report.setdefault("search", {})[precision] = tried.search
            self._take(precision, tried.judged)
        int8 = next((p for p in wanted if p.startswith("int8")), None)
        if plan.sensitivity and int8 and "search" not in self.report:
            losses = sensitivity(
                prepared, int8, plan.policy, self.scratch, threads=plan.threads, say=self.say
            )
            self.report["search"] = {
                int8: {
                    "sensitivity": [loss.to_json() for loss in losses],
                    "moved_back": [],
                    "passed": True,
                    "tried": [],
                }
            }
            self._done("sensitivity")

    def _record(self, precision: str, paths: dict[str, Path]) -> None:
        for name, path in paths.items():
            graph: Graph = name  # type: ignore[assignment]
            self.written[path.name] = (graph, precision)

    def finish(self) -> Manifest:
        """Reports and manifest."""
        clips = self.clips()
        lent = (
            self.origin.temperature if clips.labels is None else None
        )  # no labels to fit one to: the one that `gasmcast eval` fitted
        if lent is not None:
            self.verdicts = [replace(v, temperature=lent) for v in self.verdicts]
        measured = {v.precision: v.measured() for v in self.verdicts if v}
        if lent is not None and not measured:
            measured["fp32"] = Measured(clips=0, temperature=lent)
        self.report |= {
            "checkpoint": self.origin.name,
            "temperature_of_eval": lent,
            "random_weights": self.origin.random,
            "clips": {
                "count": len(clips),
                "origin": clips.origin,
                "labeled": clips.labels is not None,
                "unread": list(clips.unread),
            },
            "rules": [r.to_json() for r in self.rules],
            "verdicts": [v.to_json() for v in self.verdicts],
            "not_judged": self.not_judged,
            "files": {
                path.name: path.stat().st_size for path in sorted(self.draft.iterdir())
            },  # weights beside their graphs too
        }
        write_reports(self.draft, self.report, self.origin.labels, clips)
        return write_manifest(
            self.draft,
            self.written,
            labels=self.origin.labels,
            spec=self.spec,
            model=self.origin.config.model.model_dump(mode="json"),
            checkpoint_sha256=self.origin.sha256,
            precisions={
                name: one.model_copy(update={"ms": self.total_ms.get(name)})
                for name, one in measured.items()
            },
        )

    def _done(self, step: str) -> None:
        now = time.monotonic()
        self.report["steps_s"][step] = round(
            self.report["steps_s"].get(step, 0.0) + now - self._since, 2
        )
        self._since = now
