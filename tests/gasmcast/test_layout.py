from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gasmcast", "export", "runtime", "calibration")

SHARED_STEMS = {"enough", "export", "report", "train"}
"""Verbs: the command in `commands/` and the function in `api/`."""


def test_a_file_name_exists_once():
    files = defaultdict(list)
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            if not file.stem.startswith("__"):
                files[file.stem].append(file.relative_to(ROOT).as_posix())
    repeated = {stem: sorted(paths) for stem, paths in files.items() if len(paths) > 1}
    assert repeated == {
        stem: [f"gasmcast/api/{stem}.py", f"gasmcast/commands/{stem}.py"] for stem in SHARED_STEMS
    }


@pytest.mark.parametrize("folder", ["gasmcast/training", "runtime"])
def test_a_folder_stays_small(folder):
    assert len(list((ROOT / folder).glob("*.py"))) <= 20
