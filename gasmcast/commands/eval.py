"""Run `gasmcast eval`: evaluate a checkpoint or a bundle and print its scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.api.evaluate import EvaluationResult, LabeledSplit
from gasmcast.backend import Backend
from gasmcast.commands.data_options import AllowLeak, ContextSeconds, DataFormat, DataSet
from gasmcast.errors import UsageError
from gasmcast.report.percent import percent, percent_interval
from gasmcast.terminal_text import printable

if TYPE_CHECKING:  # rich is loaded only to print
    from rich.console import Group

__all__ = ["eval"]

VALUE = "value  [95 % interval]"
MAX_CLASSES = 30
"""Classes shown, worst first."""


def eval(  # noqa: A001 - the name of the verb
    target: Annotated[
        Path, typer.Argument(help="Run folder, checkpoint, or bundle of `gasmcast export`.")
    ],
    data: DataSet,
    split: Annotated[LabeledSplit, typer.Option(help="Split to evaluate.")] = "validation",
    precision: Annotated[
        str,
        typer.Option(help="fp32, bf16 or fp16 of a checkpoint; a precision of the bundle."),
    ] = "fp32",
    engine: Annotated[
        Backend, typer.Option(help="Backend that runs a bundle; PyTorch runs a checkpoint.")
    ] = "auto",
    views: Annotated[
        str, typer.Option(help="Windows x crops whose softmax is averaged: 1x1, 1x3 or 2x3.")
    ] = "1x1",
    tempo: Annotated[
        float | None,
        typer.Option(
            min=0.25,
            max=4.0,
            help="How many times as fast as in the training the actions are; by default 1, or by "
            "the length of the clips if the window was fitted to it (small-data).",
        ),
    ] = None,
    backwards: Annotated[
        bool, typer.Option("--reversed", help="Also classify every clip played backwards.")
    ] = False,
    shuffled: Annotated[
        bool, typer.Option("--shuffled", help="Also classify every clip with shuffled frames.")
    ] = False,
    analyze: Annotated[
        Path | None,
        typer.Option(help="Folder for an error analysis (one HTML page)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures and scores.json; default: eval/ by a checkpoint."),
    ] = None,
    events: Annotated[
        bool,
        typer.Option(
            "--events",
            help="Score the events of `live` on long videos with annotated spans, or on clips.",
        ),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="With --events: YAML of `live`'s settings.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in a batch.")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Decoding processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    data_format: DataFormat = None,
    allow_leak: AllowLeak = False,
    context: ContextSeconds = 0.0,
) -> None:
    """Measure accuracy, calibration and confusions of a checkpoint or a bundle.

    Accuracies come with 95 % confidence intervals. The evaluation of a checkpoint leaves
    temperature.json in its folder: the temperature that fits the validation logits best. `gasmcast
    export` without --data uses it for FP32; with clips of its own it fits a temperature for each
    precision.

    Examples:
        gasmcast eval runs/demo --data demo-data --reversed --shuffled

        gasmcast eval model.gasm --data demo-data --precision int8 --json

        gasmcast eval model.gasm --data long-videos.json --events --out events

        gasmcast eval runs/ssv2 --data ssv2 --views 2x3 --analyze runs/ssv2/errors
    """
    from gasmcast.api.evaluate import evaluate
    from gasmcast.data.set_check import describe_data
    from gasmcast.report.progress_bars import progress_bars

    if events:
        if tempo:
            raise UsageError(
                "--tempo does not go with --events.",
                "Write `tempo: 2` into the YAML file of --config.",
            )
        if context:
            raise UsageError(
                "--context does not go with --events.",
                "Events are scored on whole videos: leave --context out.",
            )
        _score_events(
            target,
            data,
            split,
            precision,
            engine,
            config,
            out,
            data_format=data_format,
            allow_leak=allow_leak,
            as_json=as_json,
        )
        return

    with progress_bars(quiet=as_json) as progress:
        result = evaluate(
            target,
            data,
            split=split,
            precision=precision,
            engine=engine,
            views=views,
            tempo=tempo,
            reversed=backwards,
            shuffled=shuffled,
            analyze=analyze,
            out=out,
            batch_size=batch_size,
            workers=workers,
            data_format=data_format,
            allow_leak=allow_leak,
            context_s=context,
            progress=progress,
        )
    # Machines read standard output, so nothing else may be printed there.
    if as_json:
        typer.echo(json.dumps(result.to_json()))
        return

    typer.echo(describe_data(data))
    if result.leak:
        typer.secho(result.leak, fg=typer.colors.RED, bold=True, err=True)
    _print(result)
    if result.tempo_note:
        typer.echo(result.tempo_note)
    if result.caution:
        typer.echo(result.caution)
    if result.files:
        typer.echo(f"Wrote {', '.join(map(str, result.files))}.")
    if result.checkpoint is not None:
        typer.echo(f"Next: gasmcast export {target} --data {data}")
    else:
        typer.echo(f"Next: gasmcast live VIDEO --bundle {target}")


def _score_events(
    target: Path,
    data: Path,
    split: LabeledSplit,
    precision: str,
    engine: Backend,
    config: Path | None,
    out: Path | None,
    *,
    data_format: str | None,
    allow_leak: bool,
    as_json: bool,
) -> None:
    """Score the events of a bundle on annotated long videos and print the result."""
    from gasmcast.api.evaluate_events import evaluate_events
    from gasmcast.commands.clean_exit import clean_end
    from gasmcast.data.set_check import describe_data
    from gasmcast.report.progress_bars import progress_bars

    with clean_end("The evaluation"), progress_bars(quiet=as_json) as progress:
        result = evaluate_events(
            target,
            data,
            split=split,
            precision=precision,
            engine=engine,
            config=config,
            out=out,
            data_format=data_format,
            allow_leak=allow_leak,
            progress=progress,
        )
    # The set may have been split here: which videos were scored must not be a guess.
    if not as_json:
        typer.echo(describe_data(data))
    typer.echo(json.dumps(result.to_json()) if as_json else str(result))
    if out is not None and not as_json:
        typer.echo(f"Wrote {out / 'events.json'} and {out / 'events.png'}.")


def _print(result: EvaluationResult) -> None:
    """Print scores, classes and confused pairs as tables."""
    from rich.console import Console

    console = Console()
    scores = result.scores
    title = f"{result.classifier} on {scores.clips} clips of {result.split}, views {result.views}"
    console.print(_table(title, ("figure", VALUE), _figures(result), right=(VALUE,)))

    # Something-Something has 174 classes; the worst ones are what a reader looks for.
    worst = sorted(scores.classes, key=lambda row: row.accuracy)[:MAX_CLASSES]
    classes = [(row.name, str(row.clips), percent(row.accuracy), row.mistaken_for) for row in worst]
    head = ("class", "clips", "accuracy", "mostly mistaken for")
    console.print(_table("classes, the worst first", head, classes, right=head[1:3]))

    # Confusions often come in pairs, so both directions share a row.
    pairs = [
        (pair.first, pair.second, str(pair.first_as_second), str(pair.second_as_first))
        for pair in scores.confused
    ]
    if pairs:
        head = ("first", "second", "first as second", "second as first")
        console.print(_table("most confused pairs", head, pairs, right=head[2:]))
    for name in result.unreadable:
        text = printable(f"Not counted, because it does not decode: {name}.")
        console.print(text, markup=False)


def _table(
    title: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str]
) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in head:
        # Names of classes may wrap, figures may not.
        if name in right:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")
    for row in rows:
        # Labels may hold brackets, which rich would take for markup.
        table.add_row(*(Text(printable(cell)) for cell in row))

    # A title of the table would wrap at the width of the table, not of the terminal.
    return Group(Text(printable(title), style="italic"), table)


def _figures(result: EvaluationResult) -> list[tuple[str, str]]:
    """Return name and value of every score."""
    scores, reversal, shuffle = result.scores, result.reversal, result.shuffle
    rows = [
        ("top-1", _value(scores.top1, scores.top1_interval)),
        ("top-5", _value(scores.top5, scores.top5_interval)),
        ("mean-class", _value(scores.mean_class, scores.mean_class_interval)),
        ("most frequent class", _value(scores.chance)),
        ("ECE", _value(scores.ece)),
        (f"ECE at temperature {scores.temperature:.2f}", _value(scores.ece_calibrated)),
    ]

    if reversal is not None:
        rows.append(("backwards: another class", _value(reversal.changed)))
        # Sets without classes that are reversals of each other have no more to test.
        if reversal.reversed_top1 is not None and reversal.classes_followed is not None:
            value = _value(reversal.reversed_top1, reversal.reversed_interval)
            rows.append(("backwards: the reversed class", value))
            rows.append(("paired classes that follow", _value(reversal.classes_followed)))

    if shuffle is not None:
        value = _value(shuffle.shuffled_top1, shuffle.shuffled_interval)
        rows.append(("frames shuffled: top-1", value))
        if shuffle.blind_ceiling is not None:
            rows.append(("ceiling without order", _value(shuffle.blind_ceiling)))
    return rows


def _value(share: float, interval: Sequence[float] | None = None) -> str:
    return percent(share) if interval is None else f"{percent(share)}  {percent_interval(interval)}"
