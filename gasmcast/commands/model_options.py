"""Options of every verb that builds a model from settings."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["MotionWeights", "SemanticWeights", "Settings"]

BACKBONES = "Backbones"

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
