"""Read YAML settings files with one dialect and one set of error messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import yaml

from gasmcast.errors import UsageError

__all__ = ["parse_yaml", "read_yaml"]


class _Readable(Protocol):
    """File or package resource whose content can be read."""

    def read_bytes(self) -> bytes:
        """Return the content."""


class _Loader(yaml.SafeLoader):
    """`SafeLoader` whose only booleans are `true` and `false`, as in YAML 1.2.

    PyYAML follows YAML 1.1, where the setting name `on` would become `True`.
    """


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(
    path: Path | _Readable,
    hint: str = "",
) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the plain data of a YAML file; None for an empty file.

    Args:
        path: the file, or a resource of this package.
        hint: what to do when the file cannot be read.

    Raises:
        UsageError: the file cannot be read, or is not YAML.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).", hint) from None
    return parse_yaml(content, str(path))


def parse_yaml(content: str | bytes, name: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """Return the plain data of YAML text; None for empty text.

    Args:
        content: the text, or its UTF-8 bytes.
        name: what error messages call the text.

    Raises:
        UsageError: the text is not YAML.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is not YAML ({str(error).splitlines()[0]}).") from None
