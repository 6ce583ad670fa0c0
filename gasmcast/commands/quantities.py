"""Read times and counts from the options of `gasmcast live`."""

from __future__ import annotations

import re

from gasmcast.errors import UsageError

__all__ = ["parse_count", "parse_hours", "parse_seconds"]

_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(text: str | None) -> float | None:
    """Return the seconds of 150ms, 0.15s or 0.15.

    Raises:
        UsageError: not a time.
    """
    if text is None:
        return None
    number, per_second = text.removesuffix("s"), 1.0
    if text.endswith("ms"):
        number, per_second = text[:-2], 1000.0

    try:
        seconds = float(number) / per_second
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--budget {text!r} is not a time.", "Write 150ms or 0.15s.")
    return seconds


def parse_count(text: str | None) -> int | str | None:
    """Return a number of cameras, or auto as it is.

    Raises:
        UsageError: neither.
    """
    if text is None or text == "auto":
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"--max-cameras {text!r} is not a number.", "Give a number, or auto.")


def parse_hours(text: str | None) -> float | None:
    """Return the seconds of 90m, 24h or 7d.

    Raises:
        UsageError: it is no such time.
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if not re.fullmatch(r"\d{1,6}", number) or unit not in _UNITS_S or int(number) == 0:
        raise UsageError(f"--keep {text!r} is not a time.", "Write 90m, 24h or 7d.")
    return int(number) * _UNITS_S[unit]
