"""`--set section.name=value` on a command line."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import yaml

from gasmcast.errors import UsageError

__all__ = ["parse_settings"]


def parse_settings(words: list[str]) -> dict[str, Any]:
    """`["train.epochs=3"]` -> `{"train.epochs": 3}`; values as YAML reads them (`1e-3` too, which YAML 1.1 takes for text).

    Raises:
        UsageError: no `=`, no dotted name, or a value that is not YAML.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or "." not in name:
            raise UsageError(f"--set {word!r} is not section.name=value.", "For example: --set train.epochs=3.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"--set {word!r}: {text!r} is not a value.", "For example: --set train.epochs=3.") from None
        if isinstance(value, str):
            with suppress(ValueError):
                value = float(value)
        found[name.strip()] = value
    return found
