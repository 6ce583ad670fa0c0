"""Describe the environment of a run: versions, machine, state of the source tree."""

from __future__ import annotations

import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import gasmcast

__all__ = ["describe_environment", "git_state"]

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "numpy",
    "safetensors",
    "av",
    "opencv-python",
    "opencv-python-headless",
)


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit and changed files of the tree around `folder`; None outside a repository."""

    def run_git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # Untracked files are left out: data and runs often lie in the tree.
    commit = run_git("rev-parse", "HEAD")
    if commit is None:
        return None

    changed = run_git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": (changed or "").splitlines()}


def _versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def describe_environment() -> dict[str, Any]:
    """Return versions, machine and source tree as JSON data; missing packages are left out."""
    return {
        "gasmcast": gasmcast.__version__,
        "git": git_state(Path(gasmcast.__file__).parent),
        "python": platform.python_version(),
        "command": sys.argv,
        "machine": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "packages": _versions(),
    }
