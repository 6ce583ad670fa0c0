"""Run the main path of gasmcast as the commands a user would type, and summarize it on one page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gasmcast.child_process import child_environment
from gasmcast.commands.demo.demo_page import Hits, render_page
from gasmcast.errors import GasmcastError
from gasmcast.files import write_atomic
from gasmcast.labels import class_name
from gasmcast.report.percent import percent
from gasmcast.spec import ClipSpec

__all__ = ["DemoReport", "live_hits", "run_demo"]

TIMES = "times.json"
"""File with the seconds of each finished verb."""


@dataclass(frozen=True)
class DemoReport:
    """Result of the demo."""

    page: Path
    """HTML page."""
    line: str
    """Figures in one sentence."""


class _Step(NamedTuple):
    """Command of the demo."""

    result: Path
    """File or folder whose presence shows that the step is done."""
    words: list[str]
    """Arguments of `gasmcast`."""


def run_demo(folder: Path, clips: int, seed: int, report: Callable[[str], None]) -> DemoReport:
    """Run every step that has not been done in `folder`, and write `report.html`.

    Each step is a command of its own. A step is done when its complete result exists; training
    resumes from its last state. An export whose INT8 failed the gate stops the demo like any
    failure, but leaves its bundle: run again, the demo continues with FP32.

    Args:
        folder: folder of all results; created if missing.
        clips: number of synthetic clips.
        seed: seed of the set, the training and the video.
        report: called with a line for each command before it runs.

    Raises:
        GasmcastError: a step failed. Its own message is on standard error, and its exit code is
            the exit code of this error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    times_file = folder / TIMES
    times: dict[str, float] = json.loads(times_file.read_text()) if times_file.is_file() else {}
    steps = _steps(folder, clips, seed)

    for number, step in enumerate(steps, 1):
        verb = step.words[0]
        # The live run appends to its result from the start, so its presence proves nothing.
        if verb == "live" and verb not in times:
            step.result.unlink(missing_ok=True)
        if step.result.exists():
            continue

        report(f"\n[{number}/{len(steps)}] gasmcast {' '.join(step.words)}")
        started = time.monotonic()
        command = [sys.executable, "-m", "gasmcast", *step.words]
        process = subprocess.run(command, check=False, env=child_environment())
        if process.returncode or not step.result.exists():
            raise GasmcastError(
                f"The demo stopped at step {number} (gasmcast {verb}).",
                "Run the demo again to continue from there.",
                exit_code=_exit_code(process.returncode),
            )
        # Written after every step, so that a demo that is stopped keeps its times.
        times[verb] = round(time.monotonic() - started, 1)
        write_atomic(times_file, json.dumps(times))
    return _report(folder, times)


def _steps(folder: Path, clips: int, seed: int) -> list[_Step]:
    data, run, bundle = folder / "data", folder / "run", folder / "demo.gasm"
    video, live = folder / "stream.mp4", folder / "live.jsonl"
    # Every path is explicit, so that a printed command runs from the same folder as it stands.
    train = ["train", "demo", "--data", str(data), "--out", str(run)]
    export = ["export", str(run), "--data", str(data), "--precision", "int8"]
    watch = ["live", str(video), "--bundle", str(bundle), "--jsonl", str(live)]

    return [
        _Step(data, ["demo-data", str(data), "--clips", str(clips), "--seed", str(seed)]),
        _Step(run / "summary.json", [*train, "--set", f"train.seed={seed}", "--resume"]),
        _Step(
            run / "eval" / "scores.json",
            ["eval", str(run), "--data", str(data), "--reversed", "--shuffled"],
        ),
        _Step(bundle, [*export, "--out", str(bundle)]),
        _Step(folder / "stream.json", ["demo-video", str(video), "--seed", str(seed)]),
        _Step(live, [*watch, "--save", str(folder / "live.mp4")]),
    ]


def _exit_code(status: int) -> int:
    """Return the exit code of a failed step, counted as a shell does.

    A step that SIGTERM ended in good order has status 0 and no result.
    """
    if status > 0:
        return status
    killed_by = -status if status else signal.SIGTERM
    return 128 + killed_by


def _report(folder: Path, times: dict[str, float]) -> DemoReport:
    scores = json.loads((folder / "run" / "eval" / "scores.json").read_text())
    manifest = json.loads((folder / "demo.gasm" / "manifest.json").read_text())
    actions = json.loads((folder / "stream.json").read_text())
    # The file also holds start, event and end records.
    records = [json.loads(line) for line in (folder / "live.jsonl").read_text().splitlines()]
    decisions = [record for record in records if record["kind"] == "decision"]
    hits = live_hits(decisions, actions, ClipSpec.model_validate(manifest["spec"]))

    page = folder / "report.html"
    content = render_page(
        folder,
        scores=scores,
        manifest=manifest,
        actions=actions,
        decisions=decisions,
        hits=hits,
        times=times,
    )
    write_atomic(page, content)
    return DemoReport(page, _summary(scores, manifest["precisions"].get("int8"), hits, times))


def _summary(
    scores: dict[str, Any], int8: dict[str, Any] | None, hits: Hits, times: dict[str, float]
) -> str:
    # A bundle without INT8 is a valid result of the gate.
    backwards, shuffled = scores["reversed"], scores["shuffled"]
    quantized = "INT8 failed the gate"
    if int8:
        agreement, top1 = percent(int8["agreement"]), percent(int8["top1"])
        quantized = f"INT8 agrees with FP32 on {agreement}, top-1 {top1}"

    return (
        f"Held-out top-1 {percent(scores['top1'])} (chance {percent(scores['chance'])}); "
        f"played backwards: the reversed class {percent(backwards['reversed_top1'])}, "
        f"{100 * backwards['classes_followed']:.0f} % of the paired classes follow; "
        f"frames shuffled: {percent(shuffled['shuffled_top1'])} "
        f"(ceiling without order {percent(shuffled['blind_ceiling'])}); "
        f"{quantized}; live: {hits.correct} of {hits.total} windows inside one action are right; "
        f"{sum(times.values()):.0f} s in all."
    )


def live_hits(
    decisions: list[dict[str, Any]], actions: list[dict[str, Any]], spec: ClipSpec
) -> Hits:
    """Count the decisions whose window and lead-in lie within one action, and the right ones.

    Args:
        decisions: decision records, with `window` (begin, end) in seconds and `label`.
        actions: actions of the video, with `start_s`, `end_s` and `template`.
        spec: sampling contract, which gives the length of the lead-in.
    """
    correct = total = 0
    for decision in decisions:
        # A window that touches two actions has no single right answer.
        begin, end = decision["window"]
        for action in actions:
            if action["start_s"] <= begin - spec.segment_s and end <= action["end_s"]:
                total += 1
                correct += decision["label"] == class_name(action["template"])
    return Hits(correct, total)
