"""Generate the pages of the documentation site that have another source of truth.

Writes, below the given folder (default: this one), pages that git ignores:

- `reference/cli.md`, `reference/settings.md` and `reference/api.md` from the code;
- `contributing.md`, `security.md`, `changelog.md` and `howto/service.md` from the files of the
  repository that stand alone on GitHub, with their links adjusted.

`make docs` runs it before it builds the site.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from generators.api import api_page
from generators.cli import cli_page
from generators.settings import settings_page

__all__ = ["generate"]

ROOT = Path(__file__).resolve().parents[1]
COPIES = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "deploy/README.md": "howto/service.md",
}
"""Files of the repository that are also pages of the site."""

_LINK = re.compile(r"\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def generate(docs: Path) -> list[Path]:
    """Write all generated pages below `docs` and return their paths."""
    texts = {
        "reference/cli.md": cli_page(),
        "reference/settings.md": settings_page(),
        "reference/api.md": api_page(),
    }

    # The changelog and its like stand at the root for GitHub, and are pages of the site too.
    for source, page in COPIES.items():
        texts[page] = _copied_page(ROOT / source, page)

    written = []
    for page, text in texts.items():
        path = docs / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _copied_page(source: Path, page: str) -> str:
    """Return a repository file as a page of the site.

    Links to pages become relative to this page. The site does not hold other files of the
    repository, so links to them become plain text.
    """

    def replaced(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""

        # The path within the repository decides where the link leads on the site.
        inside = os.path.relpath(source.parent / target, ROOT)
        place = COPIES.get(inside, "")
        if inside.startswith("docs/"):
            place = inside.removeprefix("docs/")
        if not place:
            return text
        return f"[{text}]({os.path.relpath(place, Path(page).parent)}{anchor})"

    return _LINK.sub(replaced, source.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for written_page in generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"):
        print(written_page)
