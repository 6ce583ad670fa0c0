"""Blocks of encoder and head under INT8 one at a time, and the search that gives the worst of them back.

The ranking uses calibration clips. How many of the worst go back is decided by the gate, on the held-out clips that judge the result too:
a precision that needed the search is judged more kindly than one that passed at once, so the report keeps the first verdict too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gasmcast.calibration.policy import Policy
from gasmcast.calibration.sensitivity import BlockLoss, Relaxed, fewest_back, loss_of, rank
from gasmcast.export.checks.heldout_clips import encode_clip, run_streaming
from gasmcast.export.checks.reference_engines import open_for
from gasmcast.export.graphs.trace import save_graph
from gasmcast.export.precisions.prepare import GRAPHS, Prepared
from gasmcast.precision import file_name

__all__ = ["Found", "relax", "sensitivity"]

CLIPS = 12
Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Found:
    """The ranking and how the search ended; `policy` is None where nothing passed."""

    losses: tuple[BlockLoss, ...]
    relaxed: Relaxed
    policy: Policy | None

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report."""
        return {
            "sensitivity": [loss.to_json() for loss in self.losses],
            "moved_back": list(self.relaxed.back) if self.policy is not None else [],
            "passed": self.relaxed.passed,
            "tried": [{"moved_back": count, "passed": held} for count, held in self.relaxed.tried],
        }


def sensitivity(
    prepared: Prepared,
    precision: str,
    policy: Policy,
    folder: Path,
    *,
    clips: int = CLIPS,
    threads: int | None = None,
    say: Say | None = None,
) -> list[BlockLoss]:
    """The loss of each block on calibration clips when only it is quantized, worst first."""
    say = say or (lambda *_: None)
    chosen = [clip for _, clip in zip(range(clips), prepared.stored.clips(), strict=False)]
    encoder, head = (open_for("fp32", prepared.fp32[name], threads) for name in GRAPHS)
    features = [encode_clip(encoder.run, clip) for clip in chosen]
    exact = np.concatenate([head.run(f)["logits"] for f in features])
    blocks = [
        (name, block) for name in GRAPHS for block in prepared.calibrated[name].blocks(policy)
    ]
    losses = []
    for done, (component, block) in enumerate(blocks, start=1):
        others = [b for b in prepared.calibrated[component].blocks(policy) if b != block]
        path = save_graph(
            prepared.graph(component, precision, policy.without(others)),
            folder / f"one-block.{component}.onnx",
        )
        engine = open_for(precision, path, threads)
        if component == "encoder":
            logits = run_streaming(engine, head, chosen)
        else:
            logits = np.concatenate([engine.run(f)["logits"] for f in features])
        losses.append(loss_of(component, block, exact, logits))
        say("sensitivity", done, len(blocks))
    return rank(losses)


def relax(
    prepared: Prepared,
    precision: str,
    policy: Policy,
    holds: Callable[[dict[str, Path]], bool],
    *,
    folder: Path,
    threads: int | None = None,
    say: Say | None = None,
) -> Found:
    """Rank the blocks, then find the fewest that must stay in high precision for the gate to hold.

    Args:
        prepared: the calibrated graphs.
        precision: the one that failed.
        policy: it was written with this.
        holds: whether encoder and head in these files pass the gate. Of its calls the last that gave True is of what is found.
        folder: for the files that are tried.
        threads: of the processor.
        say: called with the step, and how much of how much is done.
    """
    losses = sensitivity(prepared, precision, policy, folder, threads=threads, say=say)

    def passes(back: tuple[str, ...]) -> bool:
        relaxed = policy.without(back)
        return holds(
            {
                name: save_graph(
                    prepared.graph(name, precision, relaxed), folder / file_name(name, precision)
                )
                for name in GRAPHS
            }
        )

    found = fewest_back(losses, passes)
    return Found(tuple(losses), found, policy.without(found.back) if found.passed else None)
