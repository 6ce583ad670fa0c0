"""State that the stages of an export share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.export.checks.accuracy_gate import FittedElsewhere
from gasmcast.export.checks.gate_verdict import GateVerdict
from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.export.checks.judge import JudgedPrecision
from gasmcast.export.export_plan import ExportPlan
from gasmcast.export.graphs.rule_report import RuleReport
from gasmcast.export.source import ExportSource
from gasmcast.manifest import Graph
from gasmcast.precision import file_name
from gasmcast.progress import Progress
from gasmcast.spec import ClipSpec

__all__ = ["ExportState"]


@dataclass
class ExportState:
    """State of one export: what it was asked for, and what its stages have produced so far."""

    source: ExportSource
    plan: ExportPlan
    data: Path | None
    """Data set in any format that `gasmcast.data` reads."""
    calibration: Path | None
    """Set made by `gasmcast calibrate`."""
    draft: Path
    """Folder that becomes the bundle."""
    scratch: Path
    """Folder for temporary files."""
    progress: Progress

    paths: dict[str, Path] = field(default_factory=dict)
    """FP32 files by component."""
    graph_files: dict[str, tuple[Graph, str]] = field(default_factory=dict)
    """Component and precision of each network in the bundle, by file name."""
    maps: dict[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    """Shape of each attention output of each attention twin, by file name."""
    clips: Clips = field(init=False)
    """Held-out clips; without a data set, clips for parity alone."""
    background: Clips | None = None
    """Windows in which no action happens."""
    fitted: FittedElsewhere | None = None
    """Temperature and threshold fitted out of fold, if the clips were trained on."""
    fp32_outputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Features and logits of the first clips, from the parity check."""
    rules: list[RuleReport] = field(default_factory=list)
    verdicts: list[GateVerdict] = field(default_factory=list)
    """Verdicts of the accuracy gate, FP32 first."""
    not_judged: dict[str, str] = field(init=False)
    """Requested precisions that could not be judged, each with its reason."""
    not_made: dict[str, str] = field(default_factory=dict)
    """Requested precisions whose graphs could not be made, each with its reason."""
    notes: list[str] = field(default_factory=list)
    """Sentences that a user must know before relying on the bundle."""
    total_ms: Mapping[str, float] = field(default_factory=dict)
    """Time of all components together by precision, in ms."""
    report: dict[str, Any] = field(init=False)
    """Content of `report.json`; each stage adds its section."""

    def __post_init__(self) -> None:
        self.not_judged = dict(self.plan.left_out)
        self.report = {"steps_s": {}, "engines": {}, "deviation": {}}

    @property
    def spec(self) -> ClipSpec:
        """Sampling contract of the model."""
        return self.source.config.spec

    def passed(self) -> tuple[str, ...]:
        """Return the precisions in the bundle, FP32 first.

        FP32 is included even before it is judged.
        """
        judged = [v.precision for v in self.verdicts if v and v.precision != "fp32"]
        return ("fp32", *judged)

    def files(self, precision: str) -> dict[str, Path]:
        """Return the files that a precision runs, by component."""
        return {name: self.draft / file_name(name, precision) for name in self.paths}

    def record_files(self, precision: str, paths: Mapping[str, Path]) -> None:
        """Record which component and precision new files of the bundle hold."""
        for name, path in paths.items():
            graph: Graph = name  # type: ignore[assignment] # keys of dicts lose their literal type
            self.graph_files[path.name] = (graph, precision)

    def record_verdict(self, judged: JudgedPrecision) -> None:
        """Record a verdict and the figures that explain it."""
        verdict = judged.verdict
        self.verdicts.append(verdict)
        self.report["engines"][verdict.precision] = verdict.engine
        if judged.deviation:
            comparisons = [comparison.to_json() for comparison in judged.deviation]
            self.report["deviation"][verdict.precision] = comparisons

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time of the block, in seconds, to the report."""
        started = time.monotonic()
        try:
            yield
        finally:
            # A step may come in several parts.
            steps_s = self.report["steps_s"]
            steps_s[step] = round(steps_s.get(step, 0.0) + time.monotonic() - started, 2)
