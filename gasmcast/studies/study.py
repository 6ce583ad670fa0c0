"""A study: a base configuration, rows that each change something in it, and seeds."""

from __future__ import annotations

import itertools
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from gasmcast.config import MAX_SEED, Config, load_config
from gasmcast.errors import UsageError
from gasmcast.schema import Frozen
from gasmcast.yamlfile import read_yaml

__all__ = ["STUDIES", "Study", "read_study", "row_settings"]

STUDIES = ("semantic", "motion", "fusion", "heads", "graph", "taps", "guard")
TAPS = ("model.semantic_taps", "model.motion_taps")


class Study(Frozen):
    """What a study file holds."""

    about: str = ""
    base: str = Field("demo", description="a preset or a YAML file")
    settings: dict[str, Any] = Field({}, alias="set", description="dotted settings of every row")
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field((0, 1, 2), min_length=1)
    rows: dict[str, dict[str, Any]] = Field({}, description="name -> dotted settings")
    grid: dict[str, list[Any]] = Field(
        {}, description="dotted setting -> values; every combination is a row"
    )

    def all_rows(self) -> dict[str, dict[str, Any]]:
        """The named rows, then those of the grid."""
        rows = dict(self.rows)
        for values in itertools.product(*self.grid.values()):
            if not self.grid:
                break
            settings = dict(zip(self.grid, values, strict=True))
            rows[
                ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in settings.items())
            ] = settings
        return rows


def read_study(source: str) -> Study:
    """A study of this package by its name, or a YAML file.

    Raises:
        UsageError: there is none of this name, or it is not one.
    """
    if source in STUDIES:
        held = read_yaml(resources.files("gasmcast").joinpath(f"presets/studies/{source}.yaml"))
    elif Path(source).is_file():
        held = read_yaml(Path(source))
    else:
        raise UsageError(
            f"No study or file {source!r}.", f"Studies: {', '.join(STUDIES)}; or give a YAML file."
        )
    try:
        study = Study.model_validate(held)
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


def row_settings(row: dict[str, Any], base: Config) -> dict[str, Any]:
    """The settings of a row for a base; `last 2` as taps means the last two of the base's own.

    Raises:
        UsageError: a base with fewer taps.
    """
    settings = dict(row)
    for name in TAPS:
        found = re.fullmatch(r"last(?: (\d+))?", str(settings.get(name, "")))
        if found:
            own = base.model.semantic_taps if name == TAPS[0] else base.model.motion_taps
            count = int(found[1] or 1)
            if count > len(own):
                raise UsageError(
                    f"{name}: the base has {len(own)} taps, not {count}.",
                    "Use a base with more taps.",
                )
            settings[name] = list(own[-count:])
    return settings


def base_config(
    study: Study, base: str | None, settings: dict[str, Any]
) -> tuple[str, dict[str, Any], Config]:
    """The base's name, the settings of every row, and the base itself.

    Raises:
        UsageError: no such base, or a setting that it has not.
    """
    source = base or study.base
    common = {**study.settings, **settings}
    return source, common, load_config(source, common)
