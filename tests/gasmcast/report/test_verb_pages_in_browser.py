"""Pages that verbs write, in a real browser: see `conftest`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.api.alarm_thresholds import ThresholdResult, render_thresholds
from gasmcast.cli import app
from gasmcast.commands.doctor import gpu_proof
from gasmcast.explain.clip_report import explain_clip
from gasmcast.explain.faithfulness import measure_faithfulness
from gasmcast.explain.set_report import write_faithfulness
from gasmcast.explain.subject import open_checkpoint
from gasmcast.runtime.alarms.threshold_choice import ThresholdChoice, TradeOff

pytestmark = pytest.mark.slow


def run(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output


@pytest.mark.timeout(900)
def test_the_page_of_a_clip(check, tiny_run: Path, tiny_set: Path, tmp_path: Path) -> None:
    clip = tiny_set / "videos/0.mp4"
    explain_clip(open_checkpoint(tiny_run), clip, tmp_path / "why", orders=2)
    check(
        tmp_path / "why/index.html",
        "Does the order in time matter?",
        "Is the attention faithful?",
        "What each fusion layer adds",
    )


@pytest.mark.timeout(900)
def test_the_page_of_faithfulness(check, tiny_run: Path, tiny_set: Path, tmp_path: Path) -> None:
    subject = open_checkpoint(tiny_run)
    found = measure_faithfulness(subject, tiny_set, clips=4, orders=2)
    write_faithfulness(found, subject, tiny_set, tmp_path)
    check(tmp_path / "index.html", "Deletion and insertion")


@pytest.mark.timeout(900)
def test_the_page_of_features(check, tiny_run: Path, tiny_set: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from gasmcast.explain.feature_report import explain_features

    explain_features(tiny_run, tiny_set, tmp_path / "out", cache=tmp_path / "cache")
    check(tmp_path / "out/index.html", "Which tap carries what?", "What do the tokens see?")


def test_the_page_of_a_data_set(check, tiny_set: Path, tmp_path: Path) -> None:
    run("data", "check", tiny_set, "--out", tmp_path)
    check(next(tmp_path.glob("*.html")), "Findings", "Classes", "One clip of each class", "Files")


def test_the_page_of_enough(check, tiny_set: Path, tmp_path: Path) -> None:
    settings = ("model.freeze=true", "train.workers=0")
    words = [word for setting in settings for word in ("--set", setting)]
    run(
        *("enough", "--data", tiny_set, "--config", "demo", "--draws", 2, "--out", tmp_path),
        *("--semantic-weights", "random", "--motion-weights", "random", *words),
    )
    check(tmp_path / "enough.html", "What more data would bring")


def test_the_page_of_a_proof(check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_proof, "LIMITS_S", {"environment": 120.0, "no such stage": 60.0})
    gpu_proof.prove(tmp_path, rehearse=True)
    check(tmp_path / "gpu-proof.html", "Proof on a GPU")


def test_the_page_of_thresholds(check, tmp_path: Path) -> None:
    tried = [
        TradeOff(on, on / 2, 0.5, {}, 3, 1.5, 3.9, rate, delay)
        for on, rate, delay in ((0.5, 0.9, 1.25), (0.7, None, None))
    ]
    by_label = TradeOff(0.5, 0.25, 1.0, {"<b>wave</b>": 0.9, "pour": 0.8}, 0, 0.0, 0.4, 0.8, 1.5)
    choice = ThresholdChoice(
        by_label, (*tried, by_label), 1.0, 174.2, 2, {"front door": 0, "x" * 60: 0}
    )
    result = ThresholdResult(Path("demo.gasm"), "int8", choice, tmp_path / "page.html", True)
    page = render_thresholds(result)
    (tmp_path / "page.html").write_text(page)

    assert page.count("chosen</td>") == 1
    assert "&lt;b&gt;wave&lt;/b&gt; 0.9, pour 0.8" in page
    check(
        tmp_path / "page.html", "What every choice would do", "Events of the idle hours by camera"
    )
