"""`gasmcast doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["doctor"]


def doctor(
    folder: Annotated[Path, typer.Argument(help="The folder whose disk counts.")] = Path(),
    cameras: Annotated[
        bool, typer.Option("--cameras/--no-cameras", help="Look for cameras.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this machine can do: CPU, engines, GPU, TensorRT, JetPack, FFmpeg, cameras, disk; a remedy for each warning.

    gasmcast doctor

    gasmcast doctor --json
    """
    import json

    from gasmcast.commands.doctor.diagnosis import diagnose, next_step, summary

    findings = diagnose(folder, cameras)
    if as_json:
        typer.echo(
            json.dumps(
                {"findings": [f.to_json() for f in findings], "summary": summary(findings)},
                indent=1,
            )
        )
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 1))
    for found in findings:
        mark = "[green]ok[/]" if found.state == "ok" else "[yellow]warn[/]"
        table.add_row(
            mark,
            found.topic,
            escape(found.text) + (f"\n[dim]{escape(found.remedy)}[/]" if found.remedy else ""),
        )
    Console().print(table)
    typer.echo(summary(findings))
    typer.echo(f"Next: {next_step()}")
