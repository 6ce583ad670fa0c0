"""Write and judge one precision; when INT8 fails, move its worst blocks back to high precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.calibration.policy import Policy
from gasmcast.export.checks.judge import Judge, JudgedPrecision
from gasmcast.export.graphs.graph_file import remove_graph
from gasmcast.export.graphs.rule_report import RuleReport
from gasmcast.export.precisions.prepare import Prepared, write_precision
from gasmcast.export.precisions.search import relax
from gasmcast.progress import Progress, silent

__all__ = ["Attempt", "attempt"]


@dataclass(frozen=True)
class Attempt:
    """Outcome for one precision; truthy when it may enter the bundle."""

    judged: JudgedPrecision
    """Verdict on the files that were written; on the first try if none passed."""
    paths: dict[str, Path]
    """Files by component; empty if the precision failed."""
    rules: list[RuleReport]
    policy: Policy
    """Policy that the next precision starts with."""
    search: dict[str, Any] | None
    """Section of the report about the search; None if there was none."""

    def __bool__(self) -> bool:
        return bool(self.judged)


def attempt(
    prepared: Prepared,
    precision: str,
    policy: Policy,
    judge: Judge,
    *,
    folder: Path,
    scratch: Path,
    search: bool = True,
    threads: int | None = None,
    progress: Progress = silent,
) -> Attempt:
    """Write a precision's files and judge them; files that fail the gate are removed.

    Args:
        prepared: graphs and ranges.
        precision: `int8`, `fp16` or `int8_fp16`.
        policy: operators that may become INT8.
        judge: judge of held-out clips, which has judged FP32 already.
        folder: folder of the bundle.
        scratch: folder for trial files.
        search: move blocks of INT8 back to high precision if it fails.
        threads: CPU threads; all cores if None.
        progress: called after each run.

    Raises:
        GateError: a graph breaks a rule.
    """
    paths, rules = write_precision(prepared, precision, folder, policy)
    tries: list[JudgedPrecision] = []
    search_report = None

    def passes(trial_paths: dict[str, Path]) -> bool:
        tries.append(judge(precision, trial_paths))
        return bool(tries[-1])

    if not passes(paths) and search and precision.startswith("int8"):
        # The files above are overwritten only if the search succeeds.
        result = relax(
            prepared,
            precision,
            policy,
            passes,
            folder=scratch,
            threads=threads,
            progress=progress,
        )
        search_report = {**result.to_json(), "before": tries[0].verdict.to_json()}
        if result.policy is not None:
            policy = result.policy
            paths, rules = write_precision(prepared, precision, folder, policy)

    # The last try that passed is what the search has found, so it is not judged a second time.
    passed = [judged for judged in tries if judged]
    judged = passed[-1] if passed else tries[0]

    # A bundle holds nothing that failed the gate.
    if not judged:
        for path in paths.values():
            remove_graph(path)
        paths, rules = {}, []
    return Attempt(judged, paths, rules, policy, search_report)
