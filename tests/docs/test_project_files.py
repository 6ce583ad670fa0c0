"""Makefile, commit hooks, workflow and package metadata agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


def test_make_lint_runs_what_the_commit_hooks_run():
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    make = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert make == [hook["entry"] for hook in hooks]


def test_the_workflow_runs_every_python_that_is_supported():
    tested = set(WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"])
    stated = {
        entry.rpartition(" ")[2]
        for entry in PROJECT["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", entry)
    }
    assert tested == stated
    assert any(step.get("run") == ".ci/run" for step in WORKFLOW["jobs"]["test"]["steps"])


def test_nothing_is_skipped_for_lack_of_a_package_where_packages_are_required(tmp_path):
    ci, makefile = ((ROOT / name).read_text() for name in (".ci/run", "Makefile"))
    assert "export GASMCAST_NEED_DEBIAN=1" in ci
    recipe = makefile.partition("\ntest-web:")[2].partition("\n\n")[0]
    assert "GASMCAST_NEED_DEBIAN=1" in recipe
    for test in ROOT.glob("tests/gasmcast/**/test_*in_browser.py"):
        assert test.name in makefile

    # A PATH without any of them.
    command = [sys.executable, "-m", "pytest", "--no-cov", "--collect-only", "-q", __file__]
    environment = {**os.environ, "GASMCAST_NEED_DEBIAN": "1", "PATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "chromium, ffmpeg, mosquitto, openssl, strace is not installed" in done.stderr


def test_type_information_is_shipped():
    assert (ROOT / "gasmcast" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["gasmcast"]


def test_files_that_coverage_leaves_out_exist():
    omitted = PROJECT["tool"]["coverage"]["run"]["omit"]
    for path in omitted:
        assert "*" in path or (ROOT / path).is_file(), path
