"""One precision that has files of its own: written, judged, and given blocks back where it is INT8 that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.calibration.policy import Policy
from gasmcast.export.checks.judge import Judge, Judged
from gasmcast.export.graphs.rules import RuleReport
from gasmcast.export.graphs.trace import remove_graph
from gasmcast.export.plan import ExportPlan
from gasmcast.export.precisions.prepare import Prepared, write_precision
from gasmcast.export.precisions.search import relax

__all__ = ["Attempt", "attempt"]

Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Attempt:
    """How it ended; truthy when the precision may enter the bundle."""

    judged: Judged
    """Of what was found; where nothing passed, of the first try."""
    paths: dict[str, Path]
    """Its files by component; none where it did not pass."""
    rules: list[RuleReport]
    policy: Policy
    """What the next precision begins with."""
    search: dict[str, Any] | None
    """For the report, where blocks were given back or that was tried."""

    def __bool__(self) -> bool:
        return bool(self.judged)


def attempt(
    prepared: Prepared,
    precision: str,
    policy: Policy,
    judge: Judge,
    plan: ExportPlan,
    *,
    folder: Path,
    scratch: Path,
    say: Say,
) -> Attempt:
    """Write a precision's files into `folder` and judge them; they are removed where it does not pass.

    Args:
        prepared: the calibrated graphs.
        precision: `int8`, `fp16` or `int8_fp16`.
        policy: what may become INT8.
        judge: of held-out clips, with FP32 judged already.
        plan: whether INT8 that fails may shed blocks, and how many threads there are.
        folder: of the bundle.
        scratch: for files that are tried.
        say: called with the step, and how much of how much is done.

    Raises:
        GateError: a graph breaks a rule.
    """
    paths, rules = write_precision(prepared, precision, folder, policy)
    tries: list[Judged] = []
    search = None

    def holds(tried: dict[str, Path]) -> bool:
        tries.append(judge(precision, tried))
        return bool(tries[-1])

    if not holds(paths) and plan.search and precision.startswith("int8"):
        found = relax(
            prepared, precision, policy, holds, folder=scratch, threads=plan.threads, say=say
        )
        search = {**found.to_json(), "before": tries[0].verdict.to_json()}
        if found.policy is not None:
            policy = found.policy
            paths, rules = write_precision(prepared, precision, folder, policy)
    # The last try that passed is what the search found, so it is not judged again.
    judged = next((t for t in reversed(tries) if t), tries[0])
    if not judged:
        for path in paths.values():
            remove_graph(path)
        paths, rules = {}, []
    return Attempt(judged, paths, rules, policy, search)
