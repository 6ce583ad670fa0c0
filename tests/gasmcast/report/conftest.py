"""Pages in Chromium: what they show, what axe-core finds, and whether they fit into the window."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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


class Findings(NamedTuple):
    """What is to be said of a page."""

    headings: list[str]
    """Visible headings of both levels."""
    severe: list[str]
    """Serious findings of axe-core."""
    excess: int
    """Pixels by which the page is too wide."""
    broken: int
    """Pictures that the browser could not load."""


@pytest.fixture
def findings(browser) -> Callable[[Path, int, str], Findings]:
    """Return what Chromium finds in a page, from its file, the window's width and the theme."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")

    def find(file: Path, width: int, scheme: str) -> Findings:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(file.resolve().as_uri())
        page.add_script_tag(path=str(Path(axe.__file__).parent / "axe.min.js"))
        violations = page.evaluate("axe.run()")["violations"]
        excess = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        headings = [one.inner_text() for one in page.locator("h1, h2").all() if one.is_visible()]
        pictures = page.locator("img")
        broken = pictures.evaluate_all("all => all.filter(one => !one.naturalWidth).length")
        page.close()
        severe = [one for one in violations if one["impact"] in ("serious", "critical")]
        severe = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in severe]
        return Findings(headings, severe, excess, broken)

    return find


@pytest.fixture
def check(findings) -> Callable[..., None]:
    """Return a check of a page, and of its headings, on a desk and on a phone, light and dark."""

    def run(file: Path, *headings: str) -> None:
        assert headings, "name what the page must show"
        for width in (1440, 390):
            for scheme in ("light", "dark"):
                found = findings(file, width, scheme)
                assert set(headings) <= set(found.headings), found.headings
                assert found[1:] == ([], 0, 0), (file.name, width, scheme)

    return run
