"""`--set section.name=value` on a command line, read and written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import yaml

from gasmcast.errors import UsageError

__all__ = ["parse_settings", "repeat_options"]


def parse_settings(
    words: list[str] | None,
    *,
    semantic_weights: str | None = None,
    motion_weights: str | None = None,
) -> dict[str, Any]:
    """`["train.epochs=3"]` -> `{"train.epochs": 3}`; values as YAML reads them (`1e-3` too, which YAML 1.1 takes for text).

    Args:
        words: of `--set`.
        semantic_weights: of an option of its own, over what `--set` says.
        motion_weights: likewise.

    Raises:
        UsageError: no `=`, no dotted name, or a value that is not YAML.
    """
    found: dict[str, Any] = {}
    for word in words or []:
        name, equals, text = word.partition("=")
        if not equals or "." not in name:
            raise UsageError(
                f"--set {word!r} is not section.name=value.", "For example: --set train.epochs=3."
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(
                f"--set {word!r}: {text!r} is not a value.", "For example: --set train.epochs=3."
            ) from None
        if isinstance(value, str):
            with suppress(ValueError):
                value = float(value)
        found[name.strip()] = value
    weights = {"model.semantic_weights": semantic_weights, "model.motion_weights": motion_weights}
    return found | {name: given for name, given in weights.items() if given is not None}


def repeat_options(settings: Sequence[str] | None, options: Mapping[str, object]) -> str:
    """The `--set`s and other options of a command as they must be repeated in the next one, a space before each; None is left out."""
    words = [word for setting in settings or () for word in ("--set", setting)]
    words += [
        word for name, value in options.items() if value is not None for word in (name, str(value))
    ]
    return "".join(f" {shlex.quote(word)}" for word in words)
