"""Settings as the user wrote them: checked against their model, wrong ones said in one sentence."""

from __future__ import annotations

import difflib
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gasmcast.errors import UsageError

__all__ = ["Frozen", "check_settings"]

M = TypeVar("M", bound=BaseModel)


class Frozen(BaseModel):
    """An immutable record; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def check_settings(kind: type[M], tree: object, where: str) -> M:
    """Plain data as a record of `kind`; `where` names its origin in errors.

    Raises:
        UsageError: an unknown key (the nearest good one is named), or a bad value.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        # A misspelt key first: that another one is missing only follows from it.
        first = min(
            error.errors(include_url=False, include_input=False),
            key=lambda one: one["type"] != "extra_forbidden",
        )
        path = [str(part) for part in first["loc"]]
        dotted = ".".join(path)
        if first["type"] != "extra_forbidden":
            raise UsageError(
                f"{where}: {dotted or 'settings'}: {first['msg'].removeprefix('Value error, ')}."
            ) from None
        section: type[BaseModel] = kind
        for part in path[:-1]:
            section = section.model_fields[part].annotation  # type: ignore[assignment]
        near = difflib.get_close_matches(path[-1], section.model_fields, n=1)
        hint = (
            f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(section.model_fields)}."
        )
        raise UsageError(f"{where}: unknown key {dotted!r}.", hint) from None
