"""`gasmcast inspect`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["inspect"]


def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|CHECKPOINT|BUNDLE",
            help="ssv2, seed, edge, demo, small-data, a YAML file, a run, or a bundle.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show what a model is: parameters and multiply-adds by part, shapes, labels, precisions, checksums.

    gasmcast inspect ssv2

    gasmcast inspect demo/demo.gasm --json
    """
    from gasmcast.commands.inspect.describe import describe

    record = describe(target)
    if as_json:
        typer.echo(json.dumps(record))
        return
    from rich.console import Console

    console = Console()
    console.print(f"[bold]{record['kind']} {record['name']}[/bold]")
    if record["parameters"]:
        console.print(_sizes(record))
    for name, shape in record["shapes"].items():
        console.print(f"{name:>9}  {' x '.join(map(str, shape))}", highlight=False)
    if record["labels"]:
        first = ", ".join(record["labels"][:3])
        console.print(
            f"   labels  {len(record['labels'])}: {first}{', ...' if len(record['labels']) > 3 else ''}",
            highlight=False,
        )
    if record["precisions"]:
        console.print(_precisions(record["precisions"]))
    for name, digest in record["checksums"].items():
        console.print(f"{digest[:16]}  {name}", highlight=False)
    typer.echo(f"Next: {_next(record)}")


def _sizes(record: dict[str, Any]) -> Table:
    from rich.table import Table

    parameters, macs = record["parameters"], record["macs"]
    table = Table(caption=_caption(record))
    for title in ("part", "parameters (M)", "multiply-adds a clip (G)"):
        table.add_column(title, justify="left" if title == "part" else "right")
    for part in parameters["by_part"] | macs["by_part"]:
        table.add_row(
            part,
            f"{parameters['by_part'].get(part, 0) / 1e6:.3f}",
            f"{macs['by_part'].get(part, 0) / 1e9:.3f}",
        )
    table.add_section()
    table.add_row("all", f"{parameters['total'] / 1e6:.3f}", f"{macs['total'] / 1e9:.3f}")
    return table


def _caption(record: dict[str, Any]) -> str:
    parameters, macs = record["parameters"], record["macs"]
    lines = [
        f"{parameters['trainable'] / 1e6:.2f} M trainable, {parameters['frozen_share']:.1%} frozen"
    ]
    if macs["decision"] is not None:
        lines.append(f"one more segment and its decision: {macs['decision'] / 1e9:.3f} G")
    if record["cross_attention_ratio"] is not None:
        lines.append(
            f"bottleneck cross-attention: {record['cross_attention_ratio']:.1%} of the full-width one"
        )
    return "; ".join(lines)


def _precisions(measured: dict[str, dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table()
    for title in ("precision", "clips", "top-1", "top-5", "agreement with fp32"):
        table.add_column(title, justify="left" if title == "precision" else "right")
    for name, values in measured.items():
        shares = (
            "-" if values[key] is None else f"{values[key]:.1%}"
            for key in ("top1", "top5", "agreement")
        )
        table.add_row(name, str(values["clips"]), *shares)
    return table


def _next(record: dict[str, Any]) -> str:
    name = record["name"]
    return {
        "preset": f"gasmcast train {name} --data DIR --out RUN",
        "checkpoint": f"gasmcast export {name}",
        "bundle": f"gasmcast live VIDEO --bundle {name}",
    }[record["kind"]]
