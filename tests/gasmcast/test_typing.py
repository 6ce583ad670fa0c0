"""Type checkers follow gasmcast: in a clone by its links, and in a wheel by `py.typed`."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import numpy as np
from typing_extensions import assert_type

import gasmcast
from gasmcast.runtime.live_settings import LiveConfig

recognizer = gasmcast.load("demo.gasm", precision="int8")
assert_type(recognizer, gasmcast.Recognizer)
assert_type(recognizer("clip.mp4").decisions[0].p, float)
assert_type(LiveConfig().hop, int)
with recognizer.stream() as stream:
    for decision in stream.push(np.zeros((48, 64, 3), np.uint8), 0.0):
        assert_type(decision, gasmcast.Decision)
for event in gasmcast.live(["0", "demo:"], bundle="demo.gasm"):
    assert_type(event, gasmcast.Event)
"""


def check(script: Path, *options: str) -> str:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        str(script.parent / "cache"),
    ]
    done = subprocess.run(
        [*command, *options, str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=script.parent,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy so that no build folder is left in it."""
    work = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split("\0")  # fmt: skip
    if files == [""]:
        pytest.skip("not a git checkout: there is no list of files to build from")
    for name in filter(None, files):
        source, target = ROOT / name, work / "tree" / name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(work), str(work / "tree")], check=True)
    (made,) = work.glob("*.whl")
    return made


@pytest.mark.slow
def test_a_users_script_is_checked_against_the_wheel(wheel: Path, tmp_path: Path) -> None:
    # A fresh environment that has the wheel, and the packages of this one behind it.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    python = ("--python-executable", str(tmp_path / "venv" / "bin" / "python"))
    assert "Success" in check(script, *python)

    script.write_text(SCRIPT.replace('precision="int8"', "precision=8"))
    assert 'incompatible type "int"' in check(script, *python)


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_no_link(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "gasmcast/py.typed" in names
    for top, package in (("gasmcast", ""), ("runtime", "runtime/"), ("export", "export/")):
        for file in (ROOT / top).rglob("*.py"):
            relative = file.relative_to(ROOT / top).as_posix()
            if not relative.startswith(("runtime/", "export/", "calibration/")):
                assert f"gasmcast/{package}{relative}" in names


def test_a_clone_has_the_links_that_tools_follow() -> None:
    for name in ("runtime", "export", "calibration"):
        link = ROOT / "gasmcast" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name
