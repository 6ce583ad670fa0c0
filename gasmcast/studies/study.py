"""Definition of a study: a base configuration, rows that each change something in it, and seeds."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError

from gasmcast.config import MAX_SEED, Config, load_config, read_preset
from gasmcast.errors import UsageError
from gasmcast.schema import Frozen

__all__ = ["STUDIES", "Study", "StudyBase", "base_config", "read_study", "row_settings"]

STUDIES = ("semantic", "motion", "fusion", "heads", "graph", "taps", "guard")
TAPS = ("model.semantic_taps", "model.motion_taps")


class Study(Frozen):
    """Content of a study file."""

    about: str = Field(default="", description="title of the table")
    base: str = Field(default="demo", description="a preset or a YAML file")
    settings: dict[str, Any] = Field(
        default={}, alias="set", description="dotted settings of every row"
    )
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field(
        default=(0, 1, 2), min_length=1
    )
    rows: dict[str, dict[str, Any]] = Field(default={}, description="name -> dotted settings")
    grid: dict[str, list[Any]] = Field(
        default={}, description="dotted setting -> values; every combination is a row"
    )

    def all_rows(self) -> dict[str, dict[str, Any]]:
        """Return the named rows, then those of the grid."""
        rows = dict(self.rows)
        if not self.grid:
            return rows

        # The name of a row lists its values.
        for values in itertools.product(*self.grid.values()):
            settings = dict(zip(self.grid, values, strict=True))
            parts = [f"{name.rpartition('.')[2]} {value}" for name, value in settings.items()]
            rows[", ".join(parts)] = settings
        return rows


def read_study(source: str) -> Study:
    """Read a packaged study by its name, or a YAML file.

    Raises:
        UsageError: unknown name or file, or the file is not a study.
    """
    content = read_preset(source, STUDIES, kind="study", kinds="studies", folder="presets/studies")

    # Report the first problem only, with its place in the file.
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{source}: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
            "See gasmcast/presets/studies.",
        ) from None

    if not study.all_rows():
        raise UsageError(
            f"{source} has neither rows nor a grid.",
            "Give rows: {name: {model.fusion: add}} or grid: {model.heads: [4, 8]}.",
        )
    return study


@dataclass(frozen=True)
class StudyBase:
    """Configuration that the rows of a study change."""

    source: str
    """A preset or a YAML file."""
    settings: dict[str, Any]
    """Dotted settings of every row."""
    config: Config


def base_config(study: Study, base: str | None, settings: dict[str, Any]) -> StudyBase:
    """Return the base of a study.

    Args:
        study: the study.
        base: another base than the study's.
        settings: dotted settings of every row, in addition to the study's.

    Raises:
        UsageError: unknown base or setting.
    """
    source = base or study.base
    common = {**study.settings, **settings}
    return StudyBase(source, common, load_config(source, common))


def row_settings(row: dict[str, Any], base: Config) -> dict[str, Any]:
    """Return the settings of a row for a base.

    `last 2` as taps means the last two of the base.

    Raises:
        UsageError: the base has fewer taps.
    """
    settings = dict(row)
    for name in TAPS:
        match = re.fullmatch(r"last(?: (\d+))?", str(settings.get(name, "")))
        if match is None:
            continue

        # A base has as many taps as its layers, or a single one.
        taps = base.model.semantic_taps if name == TAPS[0] else base.model.motion_taps
        count = int(match[1] or 1)
        if count > len(taps):
            raise UsageError(
                f"{name}: the base has {len(taps)} taps, not {count}.",
                "Use a base with more taps.",
            )

        settings[name] = list(taps[-count:])
    return settings
