"""Run held-out clips through the graphs of a precision and apply the accuracy gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.comparison import Comparison
from gasmcast.export.checks.accuracy_gate import FittedElsewhere, judge_precision
from gasmcast.export.checks.gate_verdict import GateRecipe, GateVerdict
from gasmcast.export.checks.heldout_clips import Clips
from gasmcast.export.checks.reference_engines import open_for
from gasmcast.export.checks.run_clips import run_complete, run_streaming
from gasmcast.export.checks.torch_parity import compare_with_fp32
from gasmcast.progress import Progress, silent
from gasmcast.runtime.engines import join_batches

__all__ = ["Judge", "JudgedPrecision"]

Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class JudgedPrecision:
    """Verdict of the gate and deviation from FP32; truthy when the precision may enter the bundle.

    `deviation` compares each component on the clips of the parity check. It is empty for FP32, and
    for models without encoder and head.
    """

    verdict: GateVerdict
    deviation: tuple[Comparison, ...]

    def __bool__(self) -> bool:
        return bool(self.verdict)


class _Outcome(NamedTuple):
    """Outputs of one precision on all held-out clips."""

    logits: NDArray[np.float32]
    """`(N, classes)`."""
    engine: str
    deviation: tuple[Comparison, ...] = ()


class Judge:
    """Judge of one export: applies the accuracy gate to one precision after another, FP32 first.

    Args:
        clips: held-out clips with labels, or clips for agreement alone.
        known: FP32's features and logits of the first clips, from the parity check. They are not
            computed again, and other precisions are compared with them component by component.
        recipe: thresholds of the gate.
        threads: CPU threads; all cores if None.
        progress: called after each clip.
        background: windows in which no action happens; None: there are none.
        teacher: class that the teacher predicts for each clip, by clip id; None: no teacher.
        fitted: temperature and threshold of clips without labels; None: neutral ones.
    """

    def __init__(
        self,
        clips: Clips,
        known: Outputs,
        recipe: GateRecipe,
        threads: int | None,
        progress: Progress = silent,
        *,
        background: Clips | None = None,
        teacher: Mapping[str, int] | None = None,
        fitted: FittedElsewhere | None = None,
    ) -> None:
        self._clips, self._known, self._recipe = clips, known, recipe
        self._background, self._teacher, self._fitted = background, teacher or {}, fitted
        self._threads, self._progress = threads, progress
        self._fp32: NDArray[np.float32] | None = None

    def __call__(self, precision: str, paths: Mapping[str, Path]) -> JudgedPrecision:
        """Judge the graphs in `paths`, by component: `encoder` and `head`, or `complete` alone."""
        if "encoder" in paths:
            outcome = self._run_streaming(precision, paths)
        else:
            outcome = self._run_complete(precision, paths["complete"])

        # FP32 is its own reference.
        if self._fp32 is None:
            assert precision == "fp32", "FP32 is judged first, others are compared with it"
            self._fp32 = outcome.logits

        verdict = judge_precision(
            precision,
            outcome.engine,
            self._fp32,
            outcome.logits,
            self._clips.labels,
            recipe=self._recipe,
            background=self._run_background(precision, paths),
            fitted=self._fitted,
        )
        verdict = replace(
            verdict,
            teacher_agreement=self._agree_with_teacher(outcome.logits),
            trained_on=self._clips.origin == "training",
        )
        return JudgedPrecision(verdict, outcome.deviation)

    def _agree_with_teacher(self, logits: NDArray[np.float32]) -> float | None:
        """Return the share of the teacher's clips on which its class is the likeliest."""
        # The teacher may have failed to read a clip, or have seen another validation split.
        pairs = [
            (self._teacher[name], int(row.argmax()))
            for name, row in zip(self._clips.ids, logits, strict=True)
            if name in self._teacher
        ]
        return float(np.mean([ours == theirs for ours, theirs in pairs])) if pairs else None

    def _run_background(
        self, precision: str, paths: Mapping[str, Path]
    ) -> NDArray[np.float32] | None:
        """Return the logits `(M, classes)` of the background; None without any."""
        if self._background is None:
            return None
        pixels = self._background.pixels
        if "complete" in paths:
            return run_complete(open_for(precision, paths["complete"], self._threads), pixels)
        return run_streaming(
            open_for(precision, paths["encoder"], self._threads),
            open_for(precision, paths["head"], self._threads),
            pixels,
            progress=self._progress,
            stage=f"background in {precision}",
        )

    def _run_complete(self, precision: str, path: Path) -> _Outcome:
        engine = open_for(precision, path, self._threads)
        return _Outcome(run_complete(engine, self._clips.pixels), engine.describe())

    def _run_streaming(self, precision: str, paths: Mapping[str, Path]) -> _Outcome:
        encoder = open_for(precision, paths["encoder"], self._threads)
        head = open_for(precision, paths["head"], self._threads)
        known = len(self._known["logits"]) if self._known else 0

        # FP32's outputs of the first clips are known; of other precisions they are kept, to be
        # compared with FP32's.
        first = known if precision == "fp32" else 0
        features: list[dict[str, NDArray[np.float32]]] = []

        def keep(i: int, encoded: dict[str, NDArray[np.float32]]) -> None:
            if i < known and not first:
                features.append(encoded)

        def report(stage: str, done: int = 0, total: int = 0) -> None:  # noqa: ARG001 - own counts
            self._progress(stage, first + done, len(self._clips))

        # Clips are run as in production, segment by segment, not as complete windows.
        logits = run_streaming(
            encoder,
            head,
            self._clips.pixels[first:],
            progress=report,
            stage=f"judging {precision}",
            on_features=keep,
        )

        if first:
            known_logits = self._known["logits"]
            rest = logits.reshape(-1, known_logits.shape[1])  # (0, classes) if all are known
            return _Outcome(np.concatenate([known_logits, rest]), encoder.describe())

        deviation: tuple[Comparison, ...] = ()
        if features:
            outputs = join_batches(features)
            outputs["logits"] = logits[: len(features)]
            deviation = compare_with_fp32(precision, self._known, outputs, head)
        return _Outcome(logits, encoder.describe(), deviation)
