"""Rank the blocks of encoder and head by their loss under INT8, and move the worst ones back.

The ranking uses calibration clips. The gate decides how many blocks move back, on the held-out
clips that judge the result too. A precision that needed the search is therefore judged more
favorably than one that passed at once, so the report keeps the first verdict too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.calibration.policy import Policy
from gasmcast.calibration.sensitivity import BlockLoss, Relaxed, fewest_back, loss_of, rank
from gasmcast.export.checks.reference_engines import open_for
from gasmcast.export.checks.run_clips import encode_clip, run_head, run_streaming
from gasmcast.export.graphs.graph_file import save_graph
from gasmcast.export.precisions.prepare import GRAPHS, Prepared
from gasmcast.precision import file_name
from gasmcast.progress import Progress, silent

__all__ = ["SearchResult", "relax", "sensitivity", "sensitivity_report"]

CLIPS = 12
"""Calibration clips that the blocks are ranked on."""


@dataclass(frozen=True)
class SearchResult:
    """Ranking of the blocks and outcome of the search; truthy when the gate passes."""

    losses: tuple[BlockLoss, ...]
    relaxed: Relaxed
    policy: Policy | None
    """Policy without the blocks that moved back; None if nothing passed."""

    def __bool__(self) -> bool:
        return self.policy is not None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report."""
        return {
            "sensitivity": [loss.to_json() for loss in self.losses],
            "moved_back": list(self.relaxed.back) if self.policy is not None else [],
            "passed": self.relaxed.passed,
            "tried": [
                {"moved_back": count, "passed": passed} for count, passed in self.relaxed.tried
            ],
        }


def sensitivity_report(losses: list[BlockLoss]) -> dict[str, Any]:
    """Return the report of a ranking without a search, in the form of `SearchResult.to_json`."""
    return {
        "sensitivity": [loss.to_json() for loss in losses],
        "moved_back": [],
        "passed": True,
        "tried": [],
    }


def sensitivity(
    prepared: Prepared,
    precision: str,
    policy: Policy,
    folder: Path,
    *,
    threads: int | None = None,
    progress: Progress = silent,
) -> list[BlockLoss]:
    """Measure the loss of each block when it alone is quantized, worst first.

    Args:
        prepared: graphs and ranges.
        precision: `int8` or `int8_fp16`.
        policy: operators that may become INT8.
        folder: folder for trial files.
        threads: CPU threads; all cores if None.
        progress: called after each block.

    Returns:
        One loss for each block of encoder and head, the worst first.
    """
    chosen = [clip for _, clip in zip(range(CLIPS), prepared.stored.clips(), strict=False)]

    # Ranking uses calibration clips; the held-out ones must not choose what they judge.
    encoder, head = (open_for("fp32", prepared.fp32[name], threads) for name in GRAPHS)
    features = [encode_clip(encoder.run, clip) for clip in chosen]
    exact = run_head(head, features)

    blocks = [
        (name, block) for name in GRAPHS for block in prepared.calibrated[name].blocks(policy)
    ]
    losses = []
    for done, (component, block) in enumerate(blocks, start=1):
        # Quantize this block alone.
        others = [b for b in prepared.calibrated[component].blocks(policy) if b != block]
        graph = prepared.graph(component, precision, policy.without(others))
        path = save_graph(graph, folder / f"one-block.{component}.onnx")
        engine = open_for(precision, path, threads)

        # The other component stays in FP32; the head can reuse the features.
        if component == "encoder":
            logits = run_streaming(engine, head, chosen)
        else:
            logits = run_head(engine, features)
        losses.append(loss_of(component, block, exact, logits))
        progress("sensitivity", done, len(blocks))
    return rank(losses)


def relax(
    prepared: Prepared,
    precision: str,
    policy: Policy,
    passes: Callable[[dict[str, Path]], bool],
    *,
    folder: Path,
    threads: int | None = None,
    progress: Progress = silent,
) -> SearchResult:
    """Find the fewest blocks that must stay in high precision for the gate to pass.

    Args:
        prepared: graphs and ranges.
        precision: precision that failed the gate.
        policy: policy that it was written with.
        passes: whether encoder and head in these files pass the gate. The last call that returned
            True was for the files of the result.
        folder: folder for trial files.
        threads: CPU threads; all cores if None.
        progress: called after each block of the ranking.

    Returns:
        The ranking, the blocks that moved back, and the policy that passes; falsy if none does.
    """
    # The ranking makes the search short: blocks move back in this order.
    losses = sensitivity(prepared, precision, policy, folder, threads=threads, progress=progress)

    def passes_without(back: tuple[str, ...]) -> bool:
        # Only encoder and head: the complete graph is composed when the search is over.
        relaxed_policy = policy.without(back)
        paths = {}
        for name in GRAPHS:
            graph = prepared.graph(name, precision, relaxed_policy)
            paths[name] = save_graph(graph, folder / file_name(name, precision))
        return passes(paths)

    relaxed = fewest_back(losses, passes_without)
    return SearchResult(
        losses=tuple(losses),
        relaxed=relaxed,
        policy=policy.without(relaxed.back) if relaxed.passed else None,
    )
