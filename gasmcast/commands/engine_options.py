"""Options of every verb that runs a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gasmcast.backend import Backend

__all__ = ["MODEL", "BundlePath", "EngineChoice", "Precision"]

MODEL = "Model"
"""Panel of the help page."""

BundlePath = Annotated[
    Path,
    typer.Option("--bundle", "-b", help="What `gasmcast export` wrote.", rich_help_panel=MODEL),
]
EngineChoice = Annotated[
    Backend,
    typer.Option("--engine", help="Backend that runs the model.", rich_help_panel=MODEL),
]
Precision = Annotated[
    str,
    typer.Option("--precision", help="auto, or a precision of the bundle.", rich_help_panel=MODEL),
]
