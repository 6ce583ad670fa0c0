"""The command-line reference, from the Typer app."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import typer

from gasmcast.cli import app

from generators.markdown import code, escape, page, plain, table

__all__ = ["cli_page", "verbs"]

_COMMANDS = ("gasmcast ", "accelerate ", "torchrun ", "$ ")


def cli_page() -> str:
    """Return the reference of every verb: usage, options by group, examples."""
    about = (
        "Generated from the program itself; `gasmcast VERB --help` prints the same. See also "
        "[settings](settings.md) and [exit codes](exit_codes.md)."
    )
    parts = ["# Command line", about]
    for name, command in verbs():
        parts += [f"## {name}", *_verb(name, command)]
    return page(*parts)


def verbs() -> Iterator[tuple[str, Any]]:
    """Yield the full name and the command of every verb; a group yields its members."""
    yield from _members(typer.main.get_command(app), "gasmcast")


def _members(group: Any, name: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - click's
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _members(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def _verb(name: str, command: Any) -> list[str]:  # noqa: ANN401 - click's or Typer's
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    options = [one for one in options if one.name != "help" and not one.hidden]

    # The usage line names arguments; options have tables of their own.
    usage = [name, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])]
    parts = [f"```text\n{' '.join(usage)}\n```", *_help(command.help or "")]
    if arguments:
        rows = [(code(_argument(one).strip("[]")), _default(one), one.help) for one in arguments]
        parts.append(table(("argument", "default", "meaning"), rows))

    # Options are shown in the groups of `--help`, those without a group first.
    panels: dict[str, list[Any]] = {}
    for option in options:
        panels.setdefault(getattr(option, "rich_help_panel", None) or "", []).append(option)
    for panel in sorted(panels, key=bool):
        rows = [(_flags(one), _value(one), _default(one), one.help) for one in panels[panel]]
        parts += [f"**{panel}**"] if panel else []
        parts.append(table(("option", "value", "default", "meaning"), rows))
    return parts


def _help(text: str) -> list[str]:
    """Return a verb's help as Markdown: paragraphs, then its example commands in one block."""
    parts: list[str] = []
    examples: list[str] = []

    # Lines that begin like a command are examples, wherever they stand.
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = [line.strip() for line in paragraph.splitlines()]
        examples += [line for line in lines if line.startswith(_COMMANDS)]
        prose = " ".join(line for line in lines if not line.startswith(_COMMANDS))
        prose = prose.removesuffix("Examples:").strip()
        if prose:
            parts.append(escape(prose))

    if examples:
        parts.append("```bash\n" + "\n".join(examples) + "\n```")
    return parts


def _argument(argument: Any) -> str:  # noqa: ANN401 - click's or Typer's
    name = str(argument.name).upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _flags(option: Any) -> str:  # noqa: ANN401 - click's or Typer's
    return ", ".join(code(flag) for flag in [*option.opts, *option.secondary_opts])


def _value(option: Any) -> str:  # noqa: ANN401 - click's or Typer's
    if option.is_flag:
        return "flag"
    repeated = ", repeatable" if option.multiple else ""

    # Typer describes types by itself since it no longer depends on click.
    if not hasattr(option, "type"):
        annotation = option.type_descriptor.annotation
        if get_origin(annotation) is Literal:
            return ", ".join(code(one) for one in get_args(annotation)) + repeated
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return ", ".join(code(one.value) for one in annotation) + repeated
        return _WORDS.get(annotation.__name__, annotation.__name__) + repeated

    # Older versions of Typer have the types of click.
    choices = getattr(option.type, "choices", None)
    if choices:
        return ", ".join(code(getattr(one, "value", one)) for one in choices) + repeated
    return _WORDS.get(option.type.name, option.type.name) + repeated


_WORDS = {
    "str": "text",
    "list": "text",
    "int": "integer",
    "float": "number",
    "Path": "path",
    "integer range": "integer",
    "float range": "number",
}


def _default(parameter: Any) -> str:  # noqa: ANN401 - click's or Typer's
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or value == [] or callable(value):
        return ""
    return code(plain(getattr(value, "value", value)))
