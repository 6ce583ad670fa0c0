"""One file a verb; each function is a Typer command and imports what it needs inside."""

from __future__ import annotations

from collections.abc import Callable

import typer

from gasmcast.commands.ablate import ablate
from gasmcast.commands.bench import bench as bench_group
from gasmcast.commands.cache import cache
from gasmcast.commands.calibrate import calibrate
from gasmcast.commands.demo import demo as demo_verb
from gasmcast.commands.demo_data import demo_data, demo_video
from gasmcast.commands.doctor import doctor as doctor_verb
from gasmcast.commands.engine import engine as engine_group
from gasmcast.commands.eval import eval as evaluate
from gasmcast.commands.export import export
from gasmcast.commands.inspect import inspect as inspect_verb
from gasmcast.commands.live import live
from gasmcast.commands.replay import replay
from gasmcast.commands.runs import runs
from gasmcast.commands.train import train
from gasmcast.commands.weights import weights as weights_group

__all__ = ["COMMANDS", "GROUPS"]

COMMANDS: tuple[Callable[..., None], ...] = (
    demo_verb,
    demo_data,
    demo_video,
    cache,
    train,
    evaluate,
    runs,
    ablate,
    calibrate,
    export,
    live,
    replay,
    inspect_verb,
    doctor_verb,
)
GROUPS: dict[str, typer.Typer] = {
    "bench": bench_group,
    "engine": engine_group,
    "weights": weights_group,
}
"""Verbs with verbs of their own."""
