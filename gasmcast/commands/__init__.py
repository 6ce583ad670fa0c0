"""One file a verb; each function is a Typer command and imports what it needs inside."""

from __future__ import annotations

from collections.abc import Callable

import typer
from typer.core import TyperCommand

from gasmcast.commands.ablate import ablate
from gasmcast.commands.background import background
from gasmcast.commands.bench import bench as bench_group
from gasmcast.commands.cache import cache
from gasmcast.commands.calibrate import calibrate
from gasmcast.commands.classify import classify
from gasmcast.commands.data import data as data_group
from gasmcast.commands.demo import demo as demo_verb
from gasmcast.commands.demo_data import demo_data, demo_video
from gasmcast.commands.doctor import doctor as doctor_verb
from gasmcast.commands.engine import engine as engine_group
from gasmcast.commands.enough import enough
from gasmcast.commands.eval import eval as evaluate
from gasmcast.commands.explain import explain
from gasmcast.commands.export import export
from gasmcast.commands.inspect import inspect as inspect_verb
from gasmcast.commands.live import live
from gasmcast.commands.plan import plan
from gasmcast.commands.replay import replay
from gasmcast.commands.report import report
from gasmcast.commands.runs import runs
from gasmcast.commands.serve import serve
from gasmcast.commands.threshold import threshold
from gasmcast.commands.train import train
from gasmcast.commands.web_view import LiveCommand
from gasmcast.commands.weights import weights as weights_group

__all__ = ["CLASSES", "COMMANDS", "GROUPS"]

COMMANDS: tuple[Callable[..., None], ...] = (
    demo_verb,
    demo_data,
    demo_video,
    cache,
    train,
    evaluate,
    enough,
    runs,
    ablate,
    calibrate,
    export,
    live,
    classify,
    serve,
    replay,
    explain,
    report,
    background,
    threshold,
    plan,
    inspect_verb,
    doctor_verb,
)
CLASSES: dict[Callable[..., None], type[TyperCommand]] = {live: LiveCommand}
"""Commands that parse their arguments in their own way."""
GROUPS: dict[str, typer.Typer] = {
    "bench": bench_group,
    "data": data_group,
    "engine": engine_group,
    "weights": weights_group,
}
"""Verbs with verbs of their own."""
