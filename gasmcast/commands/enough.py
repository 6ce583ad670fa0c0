"""`gasmcast enough`: say whether a data set is large enough, and what to record next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gasmcast.commands.data_options import DATA_HELP, AllowLeak, ContextSeconds, DataFormat
from gasmcast.commands.model_options import MotionWeights, SemanticWeights, Settings

__all__ = ["enough"]


def enough(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run folder of `train`; its settings and features are used."),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", "-d", help=DATA_HELP)] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the page, the JSON file and features.")
    ] = Path("enough"),
    preset: Annotated[
        str, typer.Option("--config", help="Preset or YAML file of the backbones, without a RUN.")
    ] = "small-data",
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of feature caches of `gasmcast cache`.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=2, help="Random draws of sources.")] = 10,
    settings: Settings = None,
    semantic_weights: SemanticWeights = None,
    motion_weights: MotionWeights = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    data_format: DataFormat = None,
    allow_leak: AllowLeak = False,
    context: ContextSeconds = 0.0,
) -> None:
    """Say whether a data set is large enough, what to record next, and which clips do harm.

    Refits a fast classifier on the frozen features of fewer sources, and continues the curve: what
    10 more clips, 3 more sources or twice as many would bring, for each class. Clips that the other
    clips contradict are shown as film strips: look for wrong labels and wrong cuts.

    Examples:
        gasmcast enough --data clips

        gasmcast enough runs/mine --data clips --out enough
    """
    from gasmcast.api.enough import enough as judge
    from gasmcast.commands.clean_exit import clean_end
    from gasmcast.commands.settings import parse_settings
    from gasmcast.data.reading import read_as
    from gasmcast.report.progress_bars import progress_bars
    from gasmcast.terminal_text import printable

    read_as(data_format, allow_leak=allow_leak, context_s=context)
    overrides = parse_settings(
        settings, semantic_weights=semantic_weights, motion_weights=motion_weights
    )
    hint = "Features that are encoded are kept; the same command continues."
    with clean_end("Encoding", hint), progress_bars(quiet=as_json) as progress:
        result = judge(
            run,
            data=data,
            out=out,
            preset=preset,
            cache=cache,
            settings=overrides,
            draws=draws,
            progress=progress,
        )

    if as_json:
        typer.echo(json.dumps(result.to_json(), ensure_ascii=False))
        return
    for sentence in result.verdict:
        typer.echo(printable(sentence))
    typer.echo(printable(f"Open {result.page}."))
