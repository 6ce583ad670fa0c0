"""Every link between pages leads to a page, a picture and a heading that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "deploy/README.md"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TAG = re.compile(r'<(?:a|img) [^>]*?(?:href|src)="([^"]+)"')
GENERATED = {"cli.md", "settings.md", "api.md", "contributing.md", "security.md", "changelog.md"}


def prose(page: Path) -> str:
    """The page without code, in which brackets and number signs mean other things."""
    return re.sub(r"`[^`\n]*`", lambda code: code[0].strip("`").replace("[", "("), unfenced(page))


def unfenced(page: Path) -> str:
    """The page without its code blocks."""
    blocks = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    return blocks.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found.add(re.sub(r"[-\s]+", "-", words))
    return found


def broken(page: Path, root: Path) -> list[str]:
    wrong = []
    text = prose(page)
    for target in LINK.findall(text) + TAG.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or not place.is_relative_to(root):
            wrong.append(f"{page.name}: {target}")
        elif anchor and place.suffix == ".md" and anchor not in anchors(place):
            wrong.append(f"{page.name}: {target} (no such heading)")
    return wrong


def test_links_between_pages_of_the_site_resolve(site):
    assert not [link for page in sorted(site.rglob("*.md")) for link in broken(page, site)]


def test_links_of_the_repository_s_own_files_resolve():
    assert not [link for name in OUTSIDE for link in broken(ROOT / name, ROOT)]


def test_no_page_loads_anything_from_the_network(site):
    for page in site.rglob("*.md"):
        assert not re.search(r"!\[[^\]]*\]\(http|<(script|img|iframe|link)\b", prose(page)), page


def test_every_page_is_in_the_navigation_or_under_a_page_that_lists_it(site):
    def pages(node) -> set[str]:
        if isinstance(node, str):
            return {node}
        nodes = node.values() if isinstance(node, dict) else node
        return set().union(*map(pages, nodes))

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert all((site / page).is_file() for page in listed)
    for page in site.rglob("*.md"):
        name = page.relative_to(site).as_posix()
        index = page.parent / "index.md"
        assert name in listed or f"({page.name}" in index.read_text(encoding="utf-8"), name


def test_prose_is_wrapped_at_100_columns():
    """Tables, pictures, code and the targets of links are exempt."""
    pages = [ROOT / name for name in OUTSIDE]
    pages += [page for page in (ROOT / "docs").rglob("*.md") if page.name not in GENERATED]
    wide = [
        f"{page.name}: {line[:60]}"
        for page in pages
        for line in unfenced(page).splitlines()
        if len(re.sub(r"\]\([^)]*\)", "]", line)) > 100 and not line.startswith(("|", "!["))
    ]
    assert not wide
