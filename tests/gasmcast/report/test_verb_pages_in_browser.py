"""Pages that verbs write, in a real browser: see `conftest`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.commands.doctor import gpu_proof

pytestmark = pytest.mark.slow


def run(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output


def test_the_pages_of_explain(check, tiny_run: Path, tiny_set: Path, tmp_path: Path) -> None:
    clip = tiny_set / "videos/0.mp4"
    run("explain", clip, "--checkpoint", tiny_run, "--out", tmp_path / "clip")
    check(tmp_path / "clip/index.html")
    run(
        *("explain", "--faithful", tiny_set, "--checkpoint", tiny_run),
        *("--clips", 8, "--out", tmp_path / "set"),
    )
    check(tmp_path / "set/index.html")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    run(
        *("explain", "--features", tiny_set, "--checkpoint", tiny_run),
        *("--out", tmp_path / "features"),
    )
    check(tmp_path / "features/index.html")


def test_the_page_of_a_data_set(check, tiny_set: Path, tmp_path: Path) -> None:
    run("data", "check", tiny_set, "--out", tmp_path)
    check(next(tmp_path.glob("*.html")))


def test_the_page_of_enough(check, tiny_set: Path, tmp_path: Path) -> None:
    settings = ("model.freeze=true", "train.workers=0")
    words = [word for setting in settings for word in ("--set", setting)]
    run(
        *("enough", "--data", tiny_set, "--config", "demo", "--draws", 2, "--out", tmp_path),
        *("--semantic-weights", "random", "--motion-weights", "random", *words),
    )
    check(tmp_path / "enough.html")


def test_the_page_of_a_proof(check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_proof, "LIMITS_S", {"environment": 120.0, "no such stage": 60.0})
    gpu_proof.prove(tmp_path, rehearse=True)
    check(tmp_path / "gpu-proof.html")
