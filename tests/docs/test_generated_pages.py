"""The generated reference pages name every verb, option, setting and public name."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import gasmcast
from gasmcast.cli import app
from gasmcast.config import PRESETS, Config
from gasmcast.runtime.live_settings import LiveConfig

ROOT = Path(__file__).resolve().parents[2]


def test_every_verb_and_option_is_in_the_command_line_reference(site):
    page = (site / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = dict(
        re.findall(r"^## (gasmcast .+?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    )

    def check(group, name):
        for word, command in group.commands.items():
            if hasattr(command, "commands"):
                check(command, f"{name} {word}")
                continue
            for parameter in command.params:
                if parameter.name != "help" and parameter.opts[0].startswith("-"):
                    assert f"`{parameter.opts[0]}`" in sections[f"{name} {word}"]

    check(typer.main.get_command(app), "gasmcast")


def test_a_default_of_zero_is_shown(site):
    page = (site / "reference" / "cli.md").read_text(encoding="utf-8")
    assert re.search(r"^\| `--seed` \| integer \| `0` \|", page, re.MULTILINE)


def test_every_setting_is_in_the_settings_reference(site):
    page = (site / "reference" / "settings.md").read_text(encoding="utf-8")
    training = {
        f"{section}.{name}"
        for section, field in Config.model_fields.items()
        for name in field.annotation.model_fields
    }
    named = set(re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE))
    assert named == training | set(LiveConfig.model_fields)
    assert all(f"### `{preset}`" in page for preset in PRESETS)


@pytest.mark.parametrize("page", ["cli", "settings"])
def test_every_option_and_setting_says_what_it_means(site, page):
    rows = (site / "reference" / f"{page}.md").read_text(encoding="utf-8").splitlines()
    assert not [row for row in rows if row.startswith("| `") and row.endswith("|  |")]


def test_settings_that_no_camera_can_have_for_itself_are_marked(site):
    page = (site / "reference" / "settings.md").read_text(encoding="utf-8")
    marked = set(re.findall(r"^\| `(\w+)` \\\*", page, re.MULTILINE))
    assert marked == {"tempo", "budget_s", "max_cameras", "degrade", "batch", "stats_s"}


def test_every_public_name_is_in_the_api_reference(site):
    page = (site / "reference" / "api.md").read_text(encoding="utf-8")
    for name in gasmcast.__all__:
        assert name.startswith("_") or f"### `gasmcast.{name}`" in page


@pytest.mark.parametrize("page", ["contributing", "security", "changelog", "howto/service"])
def test_files_of_the_repository_are_pages_too(site, page):
    assert (site / f"{page}.md").read_text(encoding="utf-8").startswith("# ")


def test_a_docstring_in_the_form_of_google_becomes_markdown(site):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        api = importlib.import_module("generators.api")
    finally:
        sys.path.remove(str(ROOT / "docs"))

    def function(x: int, *, y: str = "a") -> bool:
        """Return whether.

        Args:
            x: a number,
                continued.
            y: a text.

        Raises:
            ValueError: never.

        Example:
            >>> function(1)
        """

    assert api._signature("f", function) == "f(x: int, *, y: str = 'a') -> bool"
    text = api._docstring(function)
    assert "- `x`: a number, continued.\n- `y`: a text." in text
    assert "- `ValueError`: never." in text
    assert "```python\n>>> function(1)\n```" in text


def test_the_pictures_are_those_that_their_script_draws(tmp_path):
    subprocess.run(
        [sys.executable, str(ROOT / "docs" / "pictures" / "figures.py"), str(tmp_path)], check=True
    )
    drawn = sorted(tmp_path.glob("*.svg"))
    assert len(drawn) >= 3
    for path in drawn:
        committed = ROOT / "docs" / "pictures" / path.name
        assert committed.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
