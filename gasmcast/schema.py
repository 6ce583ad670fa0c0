"""Immutable records with strict keys, and error messages for settings that do not fit them."""

from __future__ import annotations

import difflib
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gasmcast.errors import UsageError

__all__ = ["Frozen", "check_settings"]

M = TypeVar("M", bound=BaseModel)


class Frozen(BaseModel):
    """Immutable record; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def check_settings(kind: type[M], tree: object, name: str) -> M:
    """Validate plain data as a record.

    Args:
        kind: class of the record.
        tree: the data, as a mapping of field names to values.
        name: what error messages call the data.

    Raises:
        UsageError: an unknown key (the nearest known one is named), or a bad value.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        # A misspelled key comes first: that another one is missing only follows from it.
        problems = error.errors(include_url=False, include_input=False)
        first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        path = [str(part) for part in first["loc"]]

        if first["type"] != "extra_forbidden":
            message = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"{name}: {'.'.join(path) or 'settings'}: {message}.") from None
        hint = _known_keys(kind, path)
        raise UsageError(f"{name}: unknown key {'.'.join(path)!r}.", hint) from None


def _known_keys(kind: type[BaseModel], path: list[str]) -> str:
    """Return a hint that names the known key nearest to an unknown one, or all known keys."""
    section = kind
    for part in path[:-1]:
        section = section.model_fields[part].annotation  # type: ignore[assignment]

    nearest = difflib.get_close_matches(path[-1], section.model_fields, n=1)
    if nearest:
        return f"Did you mean {nearest[0]!r}?"
    return f"Known: {', '.join(section.model_fields)}."
