"""The picture of the README shows recognized actions, the confident ones, beside the truth."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from gasmcast.cli import app

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "demo_picture.py"


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("demo_picture", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decision(end: float, label: str, p: float, label_id: int = 0) -> dict:
    return {
        "kind": "decision",
        "window": [end - 2, end],
        "label": label,
        "label_id": label_id,
        "top": [[label, p]],
    }


def test_the_most_confident_decision_of_each_action_is_chosen(script) -> None:
    decisions = [
        decision(2, "up", 0.5),
        decision(3, "up", 0.9),
        decision(4, "no action", 0.99, label_id=-1),
        decision(5, "down", 0.7),
        decision(6, "left", 0.8),
    ]
    chosen = script.choose_decisions(decisions, count=2)
    assert [(one["label"], one["window"][1]) for one in chosen] == [("up", 3), ("left", 6)]


def test_a_strip_does_not_cross_the_restart_of_a_repeated_action(script) -> None:
    """A dot moves right and out of sight, and comes again."""
    window = []
    for x in [*range(4, 12), *range(-3, 9)]:
        frame = np.zeros((4, 40, 3), np.uint8)
        frame[:, max(0, 4 * x) : max(0, 4 * x + 8)] = 255
        window.append(frame)
    columns = [int(frame[0, :, 0].argmax()) for frame in script.choose_strip(window)]
    assert columns == sorted(set(columns))


@pytest.mark.slow
def test_a_demo_becomes_a_picture(script, tmp_path) -> None:
    done = CliRunner().invoke(app, ["demo-video", str(tmp_path / "stream.mp4"), "--seed", "1"])
    assert done.exit_code == 0, done.output
    actions = json.loads((tmp_path / "stream.json").read_text())
    truths = [script.class_name(action["template"]) for action in actions]
    decisions = [
        decision(action["end_s"], truth, 0.9) for action, truth in zip(actions, truths, strict=True)
    ]
    decisions[1]["label"] = "Something else"
    (tmp_path / "live.jsonl").write_text("\n".join(map(json.dumps, decisions)))
    chosen = script.draw_picture(tmp_path, tmp_path / "demo.png")
    assert len(chosen) == 4
    picture = cv2.imread(str(tmp_path / "demo.png"))
    assert picture.shape[1] >= 1000
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000
