"""Read YAML settings files with one dialect and one set of error messages."""

from __future__ import annotations

import collections.abc
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
    """`SafeLoader` without the surprises of YAML 1.1, which PyYAML follows.

    Only `true` and `false` are booleans, as in YAML 1.2 (the setting name `on` would become
    `True`). Dates are texts: `2024-02-30` is a valid name of a camera. A key may stand once only.
    """

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:  # noqa: ANN401
        """Return the value of a scalar, which can be written as UTF-8."""
        value = super().construct_scalar(node)
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise yaml.constructor.ConstructorError(
                    problem=f"a text in line {node.start_mark.line + 1} is not Unicode"
                ) from None
        return value

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[collections.abc.Hashable, Any]:
        """Return a mapping whose keys all differ; the last of two equal ones would win."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value[:80]!r} is there twice, again in line "
                    f"{key.start_mark.line + 1}"
                )
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"
_NOT_RESOLVED = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_RESOLVED]
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
    except ValueError as error:  # a null byte in the name
        raise UsageError(f"{str(path)!r} cannot be read ({error}).", hint) from None
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
    except MemoryError:
        raise
    except RecursionError:
        raise UsageError(f"{name} is not YAML (it is nested too deeply).") from None
    except Exception as error:  # noqa: BLE001 - PyYAML's constructors raise errors of many types
        reason = str(error) or type(error).__name__
        if isinstance(error, yaml.MarkedYAMLError):
            mark = error.problem_mark
            reason = f"{error.problem}{f' in line {mark.line + 1}' if mark else ''}"
        reason = reason.splitlines()[0]
        raise UsageError(f"{name} is not YAML ({reason}).") from None
