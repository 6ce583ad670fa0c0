"""A folder with everything that the examples read, made by one of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Trained(NamedTuple):
    """Folder of a run and its bundle, and the lines that the example printed."""

    folder: Path
    lines: list[str]


@pytest.fixture(scope="session")
def run_python() -> Callable[..., list[str]]:
    """Run Python with these arguments and return the lines that it prints; fail if it fails."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> list[str]:
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.fixture(scope="session")
def run_example(run_python) -> Callable[..., list[str]]:
    """Run a script of examples/ and return the lines that it prints."""
    return lambda name, *arguments: run_python(EXAMPLES / name, *arguments)


@pytest.fixture(scope="session")
def trained(run_example, tiny_set, moving_video, tmp_path_factory) -> Trained:
    """Run and bundle of `train_own_clips.py`, under the names that the documentation uses."""
    folder = tmp_path_factory.mktemp("trained")
    quick = ("demo", "train.epochs=1", "train.workers=0")
    lines = run_example("train_own_clips.py", tiny_set, folder, *quick)

    (folder / "runs").mkdir()
    links = {
        "runs/demo": folder / "run",
        "runs/mine": folder / "run",
        "demo.gasm": folder / "model.gasm",
        "demo-data": tiny_set,
        "myset": tiny_set,
        "clip.mp4": moving_video,
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    return Trained(folder, lines)
