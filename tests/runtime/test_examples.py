"""Every file of examples/ runs as its first line says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_opencv_loop(tiny_bundle, moving_video):
    lines = run("opencv_loop.py", tiny_bundle, moving_video)
    assert len(lines) == 9
    assert lines[0].startswith("  2.00 s")


def test_on_event(tiny_bundle, moving_video):
    lines = run("on_event.py", tiny_bundle, moving_video)
    assert lines[0].startswith("moving: Pushing something")
    assert "ended after" in lines[-1]
