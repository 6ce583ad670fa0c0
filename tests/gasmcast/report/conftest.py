"""Pages in Chromium: axe-core has no serious finding, and no page is wider than its window."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def findings(browser) -> Callable[[Path, int, str], tuple[list[str], int]]:
    """Return serious findings of axe-core, and by how many pixels a page is too wide."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")

    def find(file: Path, width: int, scheme: str) -> tuple[list[str], int]:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(file.resolve().as_uri())
        page.add_script_tag(path=str(Path(axe.__file__).parent / "axe.min.js"))
        violations = page.evaluate("axe.run()")["violations"]
        excess = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        page.close()
        severe = [one for one in violations if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in severe], excess

    return find


@pytest.fixture
def check(findings) -> Callable[[Path], None]:
    """Return a check of a page on a desk and on a phone, in light and dark."""

    def run(file: Path) -> None:
        for width in (1440, 390):
            for scheme in ("light", "dark"):
                assert findings(file, width, scheme) == ([], 0), (file.name, width, scheme)

    return run
