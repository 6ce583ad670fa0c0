"""The table of the architecture page names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATH = re.compile(r"`((?:gasmcast|runtime|export|calibration|docs|tests)/[\w./-]*)`")


def test_every_path_on_the_page_exists():
    named = PATH.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_table_has_twenty_rows_or_more():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Where do I change")[2]
    assert len(re.findall(r"^\| .+ \| `.+ \|$", table, re.MULTILINE)) >= 20


def test_paths_that_the_pages_name_exist():
    """Pages of decisions and experiments tell of the past and are exempt."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
    for folder in ("concepts", "howto", "reference"):
        pages += (ROOT / "docs" / folder).glob("*.md")
    wrong = [
        f"{page.name}: {path}"
        for page in [*pages, *(ROOT / "docs").glob("*.md")]
        for path in PATH.findall(page.read_text(encoding="utf-8"))
        if page.name != "changelog.md" and not (ROOT / path).exists()
    ]
    assert not wrong


def test_pages_that_the_code_names_exist():
    folders = ("gasmcast", "runtime", "export", "calibration", "deploy")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.*")]
    wrong = []
    for file in files:
        if file.suffix not in (".py", ".yaml", ".service", ".html") or not file.is_file():
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            pages = re.findall(r"(?<![\w/])docs/[\w/]+\.md", line)
            # A page of another project is named with that project.
            if "onnx-tensorrt" not in line:
                wrong += [f"{file.name}: {page}" for page in pages if not (ROOT / page).is_file()]
    assert not wrong
