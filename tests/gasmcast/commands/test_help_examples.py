"""Every command that helps, pages and verbs suggest parses as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from rich.markup import render
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.data.synthetic import clips as synthetic

ROOT = Path(__file__).resolve().parents[3]
VERBS = typer.main.get_command(app)
# Pages of experiments have shortened commands of the past; the reference is generated.
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md")),
    *(
        page
        for folder in ("docs", "docs/concepts", "docs/howto")
        for page in sorted((ROOT / folder).glob("*.md"))
        if page.name not in ("changelog.md", "contributing.md", "security.md", "service.md")
    ),
]


def commands(group=VERBS, name: str = "gasmcast") -> list:
    found = []
    for word, command in group.commands.items():
        found += (
            commands(command, f"{name} {word}")
            if hasattr(command, "commands")
            else [(f"{name} {word}", command)]
        )
    return found


def parse(line: str) -> str:
    """The verb, if the command line takes it so; nothing runs."""
    command, words = VERBS, shlex.split(line, comments=True)[1:]
    context = None
    while hasattr(command, "commands"):
        context = command.make_context(words[0], [words[0]], parent=context)
        command, words = command.commands[words[0]], words[1:]
    return command.make_context(command.name, words, parent=context).info_name or ""


def examples(text: str, fenced: bool) -> list[str]:
    parts = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if fenced else [text]
    lines = [line.strip() for part in parts for line in part.replace("\\\n", " ").splitlines()]
    return [
        one.removeprefix("$ ")
        for line in lines
        if re.match(r"(\$ )?gasmcast \w", line)
        for one in line.split(" && ")
    ]


HELPS = [
    (name, line)
    for name, command in commands()
    for line in examples(command.help or "", fenced=False)
]
DOCS = [
    (page.name, line)
    for page in PAGES
    for line in examples(page.read_text(encoding="utf-8"), fenced=True)
]


@pytest.mark.parametrize(("where", "line"), HELPS + DOCS)
def test_every_example_can_be_typed(where: str, line: str) -> None:
    assert parse(line) in shlex.split(line)


def test_there_are_examples_to_look_at() -> None:
    assert len(HELPS) > 20
    pages = {page for page, _ in DOCS}
    assert {"README.md", "tutorial.md", "ssv2.md", "export.md", "tensorrt.md", "live.md"} <= pages


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_verb_has_examples_in_one_style(name: str, command) -> None:
    """A line `Examples:`, and after it nothing but commands, a blank line between two."""
    _, heading, after = (command.help or "").partition("\n\nExamples:\n")
    assert heading
    paragraphs = [paragraph.strip() for paragraph in after.strip().split("\n\n")]
    assert paragraphs
    for paragraph in paragraphs:
        assert re.match(r"(gasmcast|accelerate launch) ", paragraph)
        assert "\n" not in paragraph
    assert any(paragraph.startswith(name) for paragraph in paragraphs)


@pytest.mark.parametrize(("name", "command"), commands())
def test_the_help_is_printed_as_it_is_written(name: str, command) -> None:
    """`mqtt[s]://` lost its `[s]`: rich takes brackets for its own."""
    for text in (
        command.help or "",
        *(getattr(parameter, "help", None) or "" for parameter in command.params),
    ):
        assert render(text).plain == text


def test_demo_data_names_a_next_step_that_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "make_set", lambda *_, **__: {"train": 1})
    done = CliRunner().invoke(app, ["demo-data", "there"])
    assert parse(done.stdout.partition("Next: ")[2].strip()) == "train"
