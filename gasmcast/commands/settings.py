"""Parse and repeat `--set section.name=value` options."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from gasmcast.errors import UsageError
from gasmcast.yamlfile import parse_yaml

__all__ = ["parse_settings", "repeat_options"]


def parse_settings(
    words: Sequence[str] | None,
    *,
    semantic_weights: str | None = None,
    motion_weights: str | None = None,
) -> dict[str, Any]:
    """Return dotted settings from the words of `--set`.

    Values are read as YAML. Numbers such as `1e-3`, which YAML takes for text, become numbers too.

    Args:
        words: `section.name=value`, as in `["train.epochs=3"]`.
        semantic_weights: value of `--semantic-weights`; it replaces the one in `words`.
        motion_weights: value of `--motion-weights`; it replaces the one in `words`.

    Raises:
        UsageError: no `=`, no dotted name, or a value that is not YAML.
    """
    settings: dict[str, Any] = {}
    for word in words or []:
        name, equals, text = word.partition("=")
        if not equals or "." not in name:
            raise UsageError(
                f"--set {word!r} is not section.name=value.", "For example: --set train.epochs=3."
            )
        settings[name.strip()] = _value(word, text)

    weights = {"model.semantic_weights": semantic_weights, "model.motion_weights": motion_weights}
    return settings | {name: value for name, value in weights.items() if value is not None}


def _value(word: str, text: str) -> Any:  # noqa: ANN401 - any YAML value
    try:
        value = parse_yaml(text, word)
    except UsageError:
        raise UsageError(
            f"--set {word!r}: {text!r} is not a value.", "For example: --set train.epochs=3."
        ) from None

    # YAML reads 1e-3 as text, because it lacks the decimal point.
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    return value


def repeat_options(settings: Sequence[str] | None, options: Mapping[str, object]) -> str:
    """Return options as shell text, to repeat them in the next command.

    Args:
        settings: words of `--set`.
        options: flag -> value; None leaves an option out, True is a flag without value.

    Returns:
        The quoted words, with a space before each.
    """
    words: list[str] = []
    for setting in settings or ():
        words += ["--set", setting]
    for flag, value in options.items():
        if value is True:
            words.append(flag)
        elif value is not None:
            words += [flag, str(value)]

    return "".join(f" {shlex.quote(word)}" for word in words)
