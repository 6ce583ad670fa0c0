"""`gasmcast data`: check, convert and split data sets."""

from __future__ import annotations

import typer

from gasmcast.commands.data.data_check import data_check
from gasmcast.commands.data.data_convert import data_convert
from gasmcast.commands.data.data_split import data_split

__all__ = ["data"]

data = typer.Typer(
    no_args_is_help=True, help="Check a data set, convert it to another format, split it by source."
)
data.command("check")(data_check)
data.command("convert")(data_convert)
data.command("split")(data_split)
