"""Options of every verb that builds a model from settings."""

from __future__ import annotations

from typing import Annotated

import typer

from gasmcast.presets import PRESETS

__all__ = ["PRESET_NAMES", "MotionWeights", "Preset", "SemanticWeights", "Settings"]

BACKBONES = "Backbones"
PRESET_NAMES = ", ".join(PRESETS)

Preset = Annotated[str, typer.Argument(help=f"Preset ({PRESET_NAMES}) or YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, as section.name=value; repeatable."),
]
SemanticWeights = Annotated[
    str | None,
    typer.Option(
        "--semantic-weights",
        help="Semantic backbone weights: a file, 'pretrained' or 'random'.",
        rich_help_panel=BACKBONES,
    ),
]
MotionWeights = Annotated[
    str | None,
    typer.Option(
        "--motion-weights",
        help="Motion backbone weights: a file, 'pretrained' or 'random'.",
        rich_help_panel=BACKBONES,
    ),
]
