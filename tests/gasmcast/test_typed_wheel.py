"""A user's type checker sees the types of an installed wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import gasmcast
from gasmcast.runtime.records import Decision

def label(decision: Decision) -> str:
    return decision.label

def wrong(decision: Decision) -> int:
    return decision.label

reveal_type(gasmcast.load("model.gasm")("clip.mp4").events)
"""


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory) -> Path:
    """An environment that holds the wheel of this tree and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    build += ["--wheel-dir", str(folder), str(_copy_of_the_tree(folder / "tree"))]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    if built.returncode and "setuptools" in built.stderr:
        pytest.skip("setuptools>=77 is not installed here")
    assert built.returncode == 0, built.stderr

    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(packages)
    return packages


def _copy_of_the_tree(tree: Path) -> Path:
    """Copy what a wheel is built from, so that no build folder is left in the checkout."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("gasmcast", "runtime", "export", "calibration"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    return tree


def test_the_wheel_ships_its_types_and_every_package(site_packages):
    assert (site_packages / "gasmcast" / "py.typed").is_file()
    for package in ("runtime/session.py", "export/pipeline.py", "calibration/policy.py"):
        assert (site_packages / "gasmcast" / package).is_file()
    assert (site_packages / "gasmcast" / "presets" / "ssv2.yaml").is_file()
    assert not (site_packages / "runtime").exists()


@pytest.mark.slow
def test_mypy_checks_a_script_that_imports_the_wheel(site_packages, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    python = site_packages.parents[2] / "bin" / "python"
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports"]
    command += ["--python-executable", str(python), "script.py"]
    # Without the checkout on the path, or its types would be found instead.
    elsewhere = {key: value for key, value in os.environ.items() if "PYTHON" not in key}
    checked = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=elsewhere
    )

    errors = [line for line in checked.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, checked.stdout + checked.stderr
    assert 'Incompatible return value type (got "str", expected "int")' in errors[0]
    assert "Event, ...]" in checked.stdout
