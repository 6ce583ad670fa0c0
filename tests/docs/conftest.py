"""The documentation site with its generated pages, built once for all tests of this folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """A copy of docs/ in which the generated pages are written too."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from generate import generate
    finally:
        sys.path.remove(str(ROOT / "docs"))
    docs = tmp_path_factory.mktemp("site") / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("__pycache__"))
    generate(docs)
    return docs
