"""Run `gasmcast inspect`: show what a preset, checkpoint or bundle contains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gasmcast.commands.model_options import PRESET_NAMES
from gasmcast.report.percent import percent
from gasmcast.terminal_text import printable

if TYPE_CHECKING:  # rich is loaded only to print
    from rich.table import Table

__all__ = ["inspect"]


def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|CHECKPOINT|BUNDLE",
            help=f"Preset ({PRESET_NAMES}), YAML file, run, or bundle.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show what a model recognizes and needs: labels, window, frame rate, size, precisions.

    Parameters and multiply-adds are listed by part; files with their checksums.

    Examples:
        gasmcast inspect ssv2

        gasmcast inspect demo/demo.gasm --json
    """
    from gasmcast.commands.inspect.describe import describe

    record = describe(target)
    if as_json:
        typer.echo(json.dumps(record))
        return
    # Labels and names come from a bundle that anybody may have made.
    record = _printable(record)
    _print(record)
    typer.echo(f"Next: {_next_command(record)}")


def _printable(tree: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    """Return plain data with every text in it safe to print on a terminal."""
    if isinstance(tree, str):
        return printable(tree)
    if isinstance(tree, dict):
        return {_printable(key): _printable(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_printable(value) for value in tree]
    return tree


def _print(record: dict[str, Any]) -> None:
    from rich.columns import Columns
    from rich.console import Console

    # Labels may hold brackets, which rich would take for markup.
    console = Console(markup=False)
    console.print(f"{record['kind']} {record['name']}", style="bold", highlight=False)

    # What a user of the model asks comes before what its authors ask.
    console.print(_for_users(record))
    if record["labels"]:
        console.print(f"{len(record['labels'])} labels:", highlight=False)
        names = [f"  {label}" for label in record["labels"]]
        console.print(Columns(names, column_first=True, padding=(0, 2)), highlight=False)
    if record["precisions"]:
        console.print(_precisions(record["precisions"]))

    if record["parameters"]:
        console.print(_sizes(record))
    for name, shape in record["shapes"].items():
        console.print(f"{name:>9}  {' x '.join(map(str, shape))}", highlight=False)
    for name, digest in record["checksums"].items():
        console.print(f"{digest[:16]}  {name}", highlight=False)


def _for_users(record: dict[str, Any]) -> Table:
    """Return the answers to: how long, how fast, how large."""
    from rich.table import Table

    timing, pixels = record["timing"], record["spec"]["pixels"]
    segments, segment_s = record["spec"]["segments"], timing["segment_s"]
    window = f"{timing['window_s']:g} s: a decision looks back over {segments} x {segment_s:g} s"
    if timing["fitted"]:
        window += "; training fits it to the length of your clips"
    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_row("window", window)
    table.add_row("decisions", f"one per {segment_s:g} s; `live --hop 2` makes it half as often")
    table.add_row(
        "frames", f"{round(timing['fps'], 1):g} per second; a slower camera's are repeated"
    )
    table.add_row("picture", f"scaled to {pixels} x {pixels} px")
    return table


def _sizes(record: dict[str, Any]) -> Table:
    parameters, macs = record["parameters"], record["macs"]
    table = _table("part", "parameters (M)", "multiply-adds a clip (G)")
    table.caption = _caption(record)

    # Some parts have parameters but no multiply-adds, or the other way round.
    for part in parameters["by_part"] | macs["by_part"]:
        count = parameters["by_part"].get(part, 0)
        cost = macs["by_part"].get(part, 0)
        table.add_row(part, f"{count / 1e6:.3f}", f"{cost / 1e9:.3f}")
    table.add_section()
    table.add_row("all", f"{parameters['total'] / 1e6:.3f}", f"{macs['total'] / 1e9:.3f}")
    return table


def _caption(record: dict[str, Any]) -> str:
    parameters, macs = record["parameters"], record["macs"]
    trainable = f"{parameters['trainable'] / 1e6:.2f} M trainable"
    sentences = [f"{trainable}, {parameters['frozen_share']:.1%} frozen"]
    # Models that cannot reuse segments have no cost of one more segment.
    if macs["decision"] is not None:
        sentences.append(f"one more segment and its decision: {macs['decision'] / 1e9:.3f} G")

    ratio = record["cross_attention_ratio"]
    if ratio is not None:
        sentences.append(f"bottleneck cross-attention: {ratio:.1%} of the full-width one")
    return "; ".join(sentences)


def _precisions(measured: dict[str, dict[str, Any]]) -> Table:
    table = _table("precision", "clips", "top-1", "top-5", "agreement with fp32")
    for name, values in measured.items():
        shares = [_share(values[key]) for key in ("top1", "top5", "agreement")]
        table.add_row(name, str(values["clips"]), *shares)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)


def _table(first: str, *numbers: str) -> Table:
    """Return an empty table of one column of names and columns of numbers."""
    from rich.table import Table

    table = Table()
    table.add_column(first)
    for title in numbers:
        table.add_column(title, justify="right")
    return table


def _next_command(record: dict[str, Any]) -> str:
    name = record["name"]
    return {
        "preset": f"gasmcast train {name} --data DIR --out RUN",
        "checkpoint": f"gasmcast export {name}",
        "bundle": f"gasmcast live VIDEO --bundle {name}",
    }[record["kind"]]
