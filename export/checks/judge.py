"""Held-out clips through the graphs of a precision, and what the gate says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.export.checks.accuracy_gate import GateRecipe, Verdict, judge
from gasmcast.export.checks.heldout_clips import Clips, run_streaming
from gasmcast.export.checks.parity import Comparison
from gasmcast.export.checks.reference_engines import open_for
from gasmcast.export.checks.torch_parity import compare_with_fp32

__all__ = ["Judge", "Judged"]

Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Judged:
    """The gate's verdict, and how far each component is from FP32; truthy when the precision may enter the bundle."""

    verdict: Verdict
    deviation: tuple[Comparison, ...]
    """On the clips that parity was measured on; empty for FP32, and where there was no such pair of graphs."""

    def __bool__(self) -> bool:
        return bool(self.verdict)


class Judge:
    """Judges one precision after another, FP32 first.

    Args:
        clips: held out, with labels.
        known: FP32's features and logits of the first clips, from parity: they are not computed again, and other precisions are compared
            with them part by part.
        recipe: thresholds.
        threads: of the processor.
        say: called with the step, and how much of how much is done.
    """

    def __init__(
        self,
        clips: Clips,
        known: Outputs,
        recipe: GateRecipe,
        threads: int | None,
        say: Callable[[str, int, int], None],
    ) -> None:
        self._clips, self._known, self._recipe = clips, known, recipe
        self._threads, self._say = threads, say
        self._fp32: NDArray[np.float32] | None = None

    def __call__(self, precision: str, paths: Mapping[str, Path]) -> Judged:
        """Judge the graphs in `paths`, by component: `encoder` and `head`, or `complete` alone."""
        if "encoder" in paths:
            logits, engine, deviation = self._stream(precision, paths)
        else:
            logits, engine, deviation = *self._whole(precision, paths["complete"]), ()
        if self._fp32 is None:
            assert precision == "fp32"
            self._fp32 = logits
        return Judged(
            judge(precision, engine, self._fp32, logits, self._clips.labels, recipe=self._recipe),
            deviation,
        )

    def _whole(self, precision: str, path: Path) -> tuple[NDArray[np.float32], str]:
        engine = open_for(precision, path, self._threads)
        return np.concatenate(
            [engine.run({"clip": np.asarray(clip[None])})["logits"] for clip in self._clips.pixels]
        ), engine.describe()

    def _stream(
        self, precision: str, paths: Mapping[str, Path]
    ) -> tuple[NDArray[np.float32], str, tuple[Comparison, ...]]:
        encoder, head = (
            open_for(precision, paths[name], self._threads) for name in ("encoder", "head")
        )
        known = len(self._known["logits"]) if self._known else 0
        first = known if precision == "fp32" else 0
        rows: list[dict[str, NDArray[np.float32]]] = []
        logits = run_streaming(
            encoder,
            head,
            self._clips.pixels[first:],
            lambda done, _: self._say(f"judging {precision}", first + done, len(self._clips)),
            lambda i, features: rows.append(features) if i < known and not first else None,
        )
        if first:
            classes = self._known["logits"].shape[1]
            return (
                np.concatenate([self._known["logits"], logits.reshape(-1, classes)]),
                encoder.describe(),
                (),
            )
        deviation: tuple[Comparison, ...] = ()
        if rows:
            found = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
            deviation = compare_with_fp32(
                precision, self._known, {**found, "logits": logits[: len(rows)]}, head
            )
        return logits, encoder.describe(), deviation
