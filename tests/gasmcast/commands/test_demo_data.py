"""`gasmcast demo-data` and `gasmcast cache` from the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.data.synthetic import clips as synthetic
from gasmcast.data.synthetic.clips import make_set

FREEZE = ["--set", "model.freeze=true"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "_SECONDS", (0.2, 0.3))
        make_set(root, clips=75, workers=1)
    return root


def test_demo_data_says_what_is_wrong(root: Path) -> None:
    """In a separate process, through the entry point: one line, exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "gasmcast", "demo-data", str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_cache_then_train_from_it(root: Path, tmp_path: Path) -> None:
    run = CliRunner()
    made = run.invoke(
        app,
        [
            "cache",
            "demo",
            "--data",
            str(root),
            "--out",
            str(tmp_path / "f"),
            "--workers",
            "0",
            *FREEZE,
        ],
    )
    assert made.exit_code == 0, made.output
    assert " MB in " in made.output
    assert "--cache" in made.output
    once = ["--set", "train.epochs=1", "--set", "train.workers=0", "--set", "train.batch_size=8"]
    base = ["train", "demo", "--data", str(root), "--cache", str(tmp_path / "f"), *FREEZE, *once]
    trained = run.invoke(app, [*base, "--out", str(tmp_path / "run")])
    assert trained.exit_code == 0, trained.output
    assert (tmp_path / "run" / "best.safetensors").is_file()
    other = run.invoke(app, [*base, "--out", str(tmp_path / "other"), "--set", "train.seed=5"])
    assert other.exit_code != 0
    assert "differs in semantic weights" in str(other.exception)
