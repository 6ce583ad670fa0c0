"""The reference of the public Python API, from signatures and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

import gasmcast
from gasmcast import errors
from gasmcast.runtime import records

from generators.markdown import code, page, table

__all__ = ["api_page"]

_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "Examples", "Note")
_RECORDS = ("Decision", "Event", "Notice", "Stats", "CameraStats")


def api_page() -> str:
    """Return the reference of `gasmcast`, the records that it yields and the errors it raises."""
    about = (
        "Generated from the docstrings. Everything on this page is public; names that are not on "
        "it may change without notice. `load`, `live` and the records work in the base install, "
        "without torch; `train`, `evaluate` and `export` need the extra `export`."
    )
    parts = ["# Python API", about, "## Functions and classes"]
    # Functions come before classes; records and errors have sections of their own.
    apart = {*_RECORDS, *errors.__all__}
    names = [name for name in gasmcast.__all__ if name not in apart and not name.startswith("_")]
    for name in sorted(names, key=lambda name: (name[0].isupper(), name)):
        parts += _entry(f"gasmcast.{name}", getattr(gasmcast, name))

    parts.append("## Records")
    for name in _RECORDS:
        parts += _entry(_public(name, "gasmcast.runtime.records"), getattr(records, name))

    parts.append("## Errors")
    for name in errors.__all__:
        error = getattr(errors, name)
        parts += [f"### `{_public(name, 'gasmcast.errors')}`", _docstring(error)]
        parts.append(f"Exit code of the command line: {error.exit_code}.")
    return page(*parts)


def _public(name: str, module: str) -> str:
    """Return the shortest public path of a name."""
    return f"gasmcast.{name}" if name in gasmcast.__all__ else f"{module}.{name}"


def _entry(name: str, item: Any) -> list[str]:  # noqa: ANN401 - a function or a class
    """Return the heading, signature, docstring, fields and methods of a function or class."""
    parts = [f"### `{name}`"]
    # A class without documented arguments is made by a function, not by its caller.
    if not inspect.isclass(item) or "Args:" in (item.__doc__ or ""):
        parts.append(f"```python\n{_signature(name, item)}\n```")
    parts.append(_docstring(item))
    if not inspect.isclass(item):
        return parts

    # Fields as a table, then methods and properties.
    fields = [(code(field), code(kind), text) for field, kind, text in _fields(item)]
    if fields:
        parts.append(table(("field", "type", "meaning"), fields))
    for member, value in vars(item).items():
        # A property has no parentheses; a class method hides its function.
        is_property = isinstance(value, property)
        function = value.fget if is_property else getattr(value, "__func__", value)
        is_public = member in ("__call__", "__enter__") or not member.startswith("_")

        # Only what is documented is shown.
        if is_public and inspect.isfunction(function) and function.__doc__:
            usage = member if is_property else _signature(member, function)
            parts += [f"#### `{item.__name__}.{member}`", f"```python\n{usage}\n```"]
            parts.append(_docstring(function))
    return parts


def _signature(name: str, item: Any) -> str:  # noqa: ANN401 - a function or a class
    """Return a call signature, one parameter a line where it is longer than 90 columns."""
    try:
        signature = inspect.signature(item)
    except (TypeError, ValueError):
        return name

    shown: list[str] = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue

        # The bare star stands before the first keyword-only parameter.
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True

        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        star = star or parameter.kind is parameter.VAR_POSITIONAL
        text = prefix.get(parameter.kind, "") + parameter.name
        text += _annotation(": ", parameter.annotation)
        if parameter.default is not parameter.empty:
            text += f" = {parameter.default!r}"
        shown.append(text)

    returns = _annotation(" -> ", signature.return_annotation)
    line = f"{name}({', '.join(shown)}){returns}"
    if len(line) <= 90:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + f"){returns}"


def _annotation(before: str, annotation: object) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return before + text.strip("'\"")


def _docstring(item: object) -> str:
    """Return a Google-style docstring as Markdown."""
    lines = inspect.cleandoc(item.__doc__ or "").splitlines()
    parts: list[str] = []
    block: list[str] = []
    title = ""

    # A section ends where the next one begins, the last one at a header that no docstring has.
    for line in [*lines, "End:"]:
        header = line.removesuffix(":") if line.endswith(":") else ""
        if header in (*_SECTIONS, "End"):
            parts += _section(title, textwrap.dedent("\n".join(block)).strip("\n"))
            title, block = header, []
        else:
            block.append(line)
    return "\n\n".join(parts)


def _section(title: str, text: str) -> list[str]:
    if not text.strip():
        return []
    if not title:
        return [text]
    if title.startswith("Example"):
        return [f"**{title}**", text if "```" in text else f"```python\n{text}\n```"]
    if title not in ("Args", "Attributes", "Raises"):
        return [f"**{title}**", text]

    # An entry begins in the first column; its continuation lines are indented.
    items = []
    for entry in re.split(r"\n(?=\S)", text):
        name, colon, meaning = entry.partition(":")
        meaning = " ".join(meaning.split())
        items.append(f"- `{name.strip()}`: {meaning}" if colon else f"- {' '.join(entry.split())}")
    return [f"**{title}**", "\n".join(items)]


def _fields(cls: type) -> list[tuple[str, str, str]]:
    """Return (name, type, docstring) of the annotated attributes of a class and its bases."""
    found: dict[str, tuple[str, str, str]] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("gasmcast"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)

        # The docstring of an attribute is the string expression that follows it.
        for node, following in zip(body.body, [*body.body[1:], None], strict=True):
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(str(following.value.value).split())
            name = node.target.id
            found[name] = (name, ast.unparse(node.annotation), text)
    return [entry for name, entry in found.items() if not name.startswith("_")]
