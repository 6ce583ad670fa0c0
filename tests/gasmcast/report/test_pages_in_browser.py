"""Every page kind in a real browser: axe-core has no serious finding, and no page is too wide."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gasmcast.report.html import Table, bar_table, render

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

NAMES = ("Pushing something from left to right", "Holding something", "Moving something up")


def write(folder: Path, content: str) -> Path:
    file = folder / "page.html"
    file.write_text(content, encoding="utf-8")
    return file


def predictions():
    from gasmcast.evaluation.predictions import Predictions
    from gasmcast.spec import ClipSpec

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 30)
    return Predictions(
        title="run on data",
        data="/nowhere",
        split="validation",
        spec=ClipSpec(),
        names=NAMES,
        ids=tuple(f"clip{i}" for i in range(30)),
        logits=(rng.normal(size=(30, 3)) + 2 * np.eye(3)[labels]).astype(np.float32),
        labels=labels,
        motion=rng.uniform(0, 9, 30),
        lengths_s=rng.uniform(1, 6, 30),
    )


def recording(file: Path) -> Path:
    from gasmcast.runtime.live_settings import LiveConfig
    from gasmcast.runtime.recording.lines import RECORDING_VERSION
    from gasmcast.spec import ClipSpec

    ts = "2026-01-01T00:00:00.000Z"
    lines = [
        {
            "is": "run",
            "version": RECORDING_VERSION,
            "labels": list(NAMES),
            "spec": ClipSpec().model_dump(mode="json"),
            "temperature": 1.0,
            "no_action": None,
            "config": LiveConfig().model_dump(mode="json"),
            "engine": "fp32 by openvino",
        },
        {"is": "camera", "camera": "door", "source": "demo:", "live": True, "config": None},
        {"is": "drop", "camera": "door", "cause": "late", "segments": 3},
    ]
    record = {"is": "record", "camera": "door", "ts": ts}
    for i in range(20):
        latency = {"sample": 1.0, "encode": 5.0 + i, "total": 9.0 + i}
        decision = {"label": NAMES[i % 3], "p": 0.8, "latency_ms": latency}
        lines.append({**record, "kind": "decision", "time_s": i / 2, **decision})
    event = {"phase": "end", "label": NAMES[0], "p": 0.9, "onset_s": 1.0, "duration_s": 2.0}
    lines.append({**record, "kind": "event", "time_s": 3.0, **event})
    notice = {"what": "state", "text": "door is <b>live</b>."}
    lines.append({**record, "kind": "notice", "time_s": 3.0, **notice})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_the_check_finds_what_is_wrong(findings, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html lang=en><title>t</title><img src=x>"
        "<p style='color:#ddd;background:#fff;width:900px'>pale</p></html>"
    )
    found = findings(bad, 390, "light")
    assert {one.partition(":")[0] for one in found.severe} >= {"image-alt", "color-contrast"}
    assert found.excess > 0
    assert found.broken == 1
    assert found.headings == []


def test_the_page_of_a_recording(check, tmp_path: Path) -> None:
    from gasmcast.api.recording_page import render_recording

    content = render_recording(recording(tmp_path / "run.jsonl"))
    assert "&lt;b&gt;live" in content
    assert '<td class="number">3</td>' in content  # dropped segments
    check(
        write(tmp_path, content),
        "Cameras",
        "Time line of door",
        "Latency by stage",
        "Drops by cause",
        "Events",
    )


def test_the_page_of_an_evaluation(check, tmp_path: Path) -> None:
    from gasmcast.evaluation.evaluation_page import analyze, time_tests

    context = {"analysis": analyze(predictions()), "time_tests": time_tests(None, None)}
    check(
        write(tmp_path, render("evaluation.html.j2", title="eval", **context)),
        "eval",
        "Confusion",
        "Calibration",
        "Most confused pairs",
        "Worst clips",
    )


def test_the_page_of_a_run(check, tmp_path: Path) -> None:
    from gasmcast.evaluation.predictions import FILE_NAME, write_predictions
    from gasmcast.training.logs.run_page import render_run

    run = tmp_path / "run"
    (run / "eval").mkdir(parents=True)
    (run / "config.yaml").write_text("{}\n")
    (run / "environment.json").write_text(
        '[{"from_step": 0, "python": "3.11", "warnings": ["WARNING: LEAK ALLOWED: <set>"]}]'
    )
    (run / "metrics.csv").write_text(
        "epoch,loss,top1,lr,wait_share\n1,2,0.5,0.1,0.2\n2,1,0.9,0,0\n"
    )
    write_predictions(predictions(), run / "eval" / FILE_NAME)
    content = render_run(run)
    for heading in ("Confusion", "Calibration", "Most confused pairs", "Worst clips"):
        assert f"<h2>{heading}</h2>" in content
    assert content.count('<p class="bad">WARNING: LEAK ALLOWED: &lt;set&gt;</p>') == 1
    check(write(tmp_path, content), "Training", "Evaluation", "Confusion", "Settings")


def test_the_page_of_a_bundle(check, tmp_path: Path) -> None:
    charts = bar_table(("tensor", "ratio"), [("blocks.3/" * 9, 320.0), ("b", 2.0)], marks=[True])
    content = render(
        "export.html.j2",
        title="gasmcast export",
        report={
            "checkpoint": "run",
            "random_weights": True,
            "verdicts": [],
            "temperature_of_eval": None,
            "parity": {"clips": ["a"], "origin": "validation"},
        },
        judged_on="Judged on 1 clip",
        steps="trace 3 s",
        engines="",
        gate=Table(("precision",), ()),
        parity=Table(("tensor", "", "max error"), [("head.logits", True, "1e-5")], (2,)),
        deviation=Table(("tensor",), ()),
        speed={"chart": charts, "notes": ["fast"], "sizes": Table(("file", "MB"), [("a", "1")])},
        calibration=None,
        outliers=[],
        searches=[
            {
                "precision": "int8",
                "chart": charts,
                "blocks": Table(("block",), [("b",)]),
                "tried": "",
            }
        ],
        disagreements=[],
        rules=Table(("file", "", "nodes"), [("head.onnx", False, 3)], (2,)),
    )
    check(
        write(tmp_path, content),
        "Export report",
        "Accuracy gate",
        "Parity with torch, FP32",
        "Sensitivity of int8",
    )


def test_the_page_of_a_demo(check, tmp_path: Path) -> None:
    from gasmcast.commands.demo.demo_page import Hits, _time_line

    actions = [{"start_s": 0.0, "end_s": 6.0, "template": "Holding [something]"}]
    content = render(
        "demo.html.j2",
        title="gasmcast demo",
        targets=Table(("", "measured"), [("top-1", "91 %")], (1,)),
        hits=Hits(1, 1),
        line=_time_line(actions, [{"label": "Holding something", "time_s": 4.0, "p": 0.9}]),
        video="live.mp4",
        stills=[],
        curves=[],
        confusion="",
        times=Table(("", "s"), [("gasmcast train", "3")], (1,)),
    )
    check(write(tmp_path, content), "gasmcast demo", "Results", "Live", "Seconds for each step")
