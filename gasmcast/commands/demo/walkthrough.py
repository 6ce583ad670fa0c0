"""The demo: the main path as the commands a user would type, and one page of what came of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.errors import GasmcastError
from gasmcast.files import write_atomic
from gasmcast.commands.demo.demo_page import render_page
from gasmcast.labels import class_name
from gasmcast.spec import ClipSpec

__all__ = ["DemoReport", "live_hits", "run_demo"]

TIMES = "times.json"


@dataclass(frozen=True)
class DemoReport:
    """Where the page is, and the figures in one line."""

    page: Path
    line: str


def run_demo(folder: Path, clips: int, seed: int, say: Callable[[str], None]) -> DemoReport:
    """Run every step that has not been done in `folder`, each as a command of its own, and write `report.html`.

    Args:
        folder: made if need be. A step is done when its result is there, whole; training goes on from its last state. An export whose INT8
            failed the gate stops the demo like any failure, yet its bundle is there: run again, the demo goes on with FP32.
        clips: size of the made-up set.
        seed: of the set, the training and the video.
        say: told each command before it runs.

    Raises:
        GasmcastError: a step failed; its own sentence is on standard error, its exit code is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, run, bundle, video = (folder / name for name in ("data", "run", "demo.gasm", "stream.mp4"))
    live = folder / "live.jsonl"
    steps: list[tuple[Path, list[str]]] = [
        (data, ["demo-data", str(data), "--clips", str(clips), "--seed", str(seed)]),
        (run / "summary.json", ["train", "demo", "--data", str(data), "--out", str(run), "--set", f"train.seed={seed}", "--resume"]),
        (run / "eval" / "scores.json", ["eval", str(run), "--data", str(data), "--reversed", "--shuffled"]),
        (bundle, ["export", str(run), "--data", str(data), "--precision", "int8", "--out", str(bundle)]),
        (folder / "stream.json", ["demo-video", str(video), "--seed", str(seed)]),
        (live, ["live", str(video), "--bundle", str(bundle), "--jsonl", str(live), "--save", str(folder / "live.mp4")]),
    ]
    times: dict[str, float] = json.loads((folder / TIMES).read_text()) if (folder / TIMES).is_file() else {}
    for number, (result, words) in enumerate(steps, 1):
        if result == live and "live" not in times:
            live.unlink(missing_ok=True)  # lines of a run that was killed: unlike the other results it is there from the start, and grows
        if result.exists():
            continue
        say(f"\n[{number}/{len(steps)}] gasmcast {' '.join(words)}")
        begin = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "gasmcast", *words], check=False)
        if done.returncode or not result.exists():
            error = GasmcastError(f"The demo stopped at step {number} (gasmcast {words[0]}).", "Run the demo again to go on from there.")
            # A step that a SIGTERM ended in good order has status 0 and no result.
            error.exit_code = done.returncode if done.returncode > 0 else 128 - (done.returncode or -signal.SIGTERM)
            raise error
        times[words[0]] = round(time.monotonic() - begin, 1)
        write_atomic(folder / TIMES, json.dumps(times))
    return _report(folder, times)


def _report(folder: Path, times: dict[str, float]) -> DemoReport:
    scores = json.loads((folder / "run" / "eval" / "scores.json").read_text())
    manifest = json.loads((folder / "demo.gasm" / "manifest.json").read_text())
    actions = json.loads((folder / "stream.json").read_text())
    records = [json.loads(line) for line in (folder / "live.jsonl").read_text().splitlines()]
    decisions = [record for record in records if record["kind"] == "decision"]
    hits = live_hits(decisions, actions, ClipSpec.model_validate(manifest["spec"]))
    page = folder / "report.html"
    write_atomic(page, render_page(folder, scores=scores, manifest=manifest, actions=actions, decisions=decisions, hits=hits, times=times))
    int8 = manifest["precisions"].get("int8")
    quantized = (
        f"INT8 agrees with FP32 on {100 * int8['agreement']:.1f} %, top-1 {100 * int8['top1']:.1f} %" if int8 else "INT8 failed the gate"
    )
    line = (
        f"Held-out top-1 {100 * scores['top1']:.1f} % (chance {100 * scores['chance']:.1f} %); "
        f"played backwards: the reversed class {100 * scores['reversed']['reversed_top1']:.1f} %, "
        f"{100 * scores['reversed']['classes_followed']:.0f} % of the paired classes follow; "
        f"frames shuffled: {100 * scores['shuffled']['shuffled_top1']:.1f} % "
        f"(ceiling without order {100 * scores['shuffled']['blind_ceiling']:.1f} %); "
        f"{quantized}; live: {hits[0]} of {hits[1]} windows inside one action are right; {sum(times.values()):.0f} s in all."
    )
    return DemoReport(page, line)


def live_hits(decisions: list[dict[str, Any]], actions: list[dict[str, Any]], spec: ClipSpec) -> tuple[int, int]:
    """Decisions that are right, and all those whose window and lead-in lie within one action of the video."""
    right = counted = 0
    for decision in decisions:
        begin, end = decision["window"]
        for action in actions:
            if action["start_s"] <= begin - spec.segment_s and end <= action["end_s"]:
                counted += 1
                right += decision["label"] == class_name(action["template"])
    return right, counted
