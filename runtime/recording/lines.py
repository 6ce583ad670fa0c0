"""Lines of a recording: their fields by kind, checked before anything is computed from them.

A recording may come from anyone and may have been edited, so nothing in it is trusted.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from gasmcast.spec import ClipSpec

__all__ = ["RECORDING_VERSION", "SourceTime", "Text", "parse_line"]

RECORDING_VERSION = 2

# Seconds since 1970, up to the year 9999, beyond which there are no dates.
WallTime = Annotated[float, Field(ge=0, le=253_402_300_799)]
# Seconds of a source: a century, so that sums and rounding stay exact.
SourceTime = Annotated[float, Field(ge=-4e9, le=4e9)]


def _text(value: object) -> str:
    """Return a text; pydantic's own type refuses the bytes of names that are not UTF-8."""
    if not isinstance(value, str) or len(value) > 1_000_000:
        raise ValueError("it is not a text of a sensible length")
    return value


Text = Annotated[str, PlainValidator(_text)]


class _Line(BaseModel):
    """Fields that are read from a line; others are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Run(_Line):
    version: Literal[2]
    labels: Annotated[list[Text], Field(min_length=1)]
    spec: ClipSpec
    temperature: Annotated[float, Field(gt=0)]
    no_action: float | None
    config: dict[str, Any]


class _Camera(_Line):
    camera: Text
    source: Text
    live: bool
    config: dict[str, Any] | None


class _Segment(_Line):
    camera: Text
    stamps: list[float]


class _Drop(_Line):
    camera: Text
    cause: Text


class _Window(_Line):
    camera: Text
    window: Annotated[list[SourceTime], Field(min_length=2, max_length=2)]
    wall_s: WallTime
    latency_ms: dict[str, float]
    logits: Annotated[list[float], Field(min_length=1)]


class _Mark(_Line):
    camera: Text
    what: Literal["gap", "end"]
    wall_s: WallTime


class _Record(_Line):
    kind: Text
    camera: Text
    time_s: SourceTime


class _Lost(_Line):
    lines: Annotated[int, Field(ge=1, le=10**12)]


_KINDS: dict[str, type[_Line]] = {
    "run": _Run,
    "camera": _Camera,
    "segment": _Segment,
    "drop": _Drop,
    "window": _Window,
    "mark": _Mark,
    "record": _Record,
    "lost": _Lost,
}


def parse_line(text: str, *, first: bool) -> dict[str, Any]:
    """Return the fields of one line, which has all that its kind needs.

    Args:
        text: JSON.
        first: it is the first line, which must be the head.

    Raises:
        ValueError: not such a line; the message says why.
    """
    try:
        line = json.loads(text)
        # A lone surrogate cannot be written again, unless it stands for a byte of a file name that
        # is not UTF-8 (PEP 383).
        if "\\u" in text:
            json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has a text that is not Unicode") from None

    kind = line.get("is") if isinstance(line, dict) else None
    if first and kind != "run":
        raise ValueError("it does not begin with the head of a recording")
    if first and line.get("version") != RECORDING_VERSION:
        version = str(line.get("version"))[:20]
        raise ValueError(f"it has version {version}, and this gasmcast reads {RECORDING_VERSION}")
    if not isinstance(kind, str) or kind not in _KINDS or (kind == "run") != first:
        raise ValueError("its kind is unknown")

    try:
        _KINDS[kind].model_validate(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{where}: {problem['msg']}") from None
    return dict(line)
