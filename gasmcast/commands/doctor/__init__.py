"""Run `gasmcast doctor`: report what this machine can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.commands.clean_exit import clean_end
from gasmcast.errors import UsageError

if TYPE_CHECKING:  # loaded only to print
    from gasmcast.commands.doctor.finding import Finding

__all__ = ["doctor"]


def doctor(
    folder: Annotated[
        Path, typer.Argument(help="Folder whose disk is checked for free space.")
    ] = Path(),
    cameras: Annotated[
        bool, typer.Option("--cameras/--no-cameras", help="Look for cameras.")
    ] = True,
    gpu_proof: Annotated[
        Path | None,
        typer.Option(
            "--gpu-proof",
            help="Prove on an NVIDIA GPU that everything runs, in ten minutes; folder of the "
            "results.",
        ),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse", help="With --gpu-proof: tiny sizes on the CPU, to try the stages."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Report what this machine can do, with a remedy for each warning.

    Checks CPU, engines, GPU, TensorRT, JetPack, FFmpeg, cameras and disk.

    Examples:
        gasmcast doctor

        gasmcast doctor --json

        gasmcast doctor --gpu-proof proof
    """
    import json

    if gpu_proof is not None:
        _prove(gpu_proof, rehearse=rehearse)
        return
    if rehearse:
        raise UsageError("--rehearse belongs to --gpu-proof.", "Give both, or neither.")

    from gasmcast.commands.doctor.diagnosis import diagnose, next_step, summary

    findings = diagnose(folder, cameras)
    if as_json:
        record = {
            "findings": [finding.to_json() for finding in findings],
            "summary": summary(findings),
        }
        typer.echo(json.dumps(record, indent=1))
        return

    _print(findings)
    typer.echo(summary(findings))
    typer.echo(f"Next: {next_step()}")


def _prove(folder: Path, *, rehearse: bool) -> None:
    """Run the stages, print each result, and exit with 4 if one failed."""
    from gasmcast.commands.doctor.gpu_proof import StageResult, prove, require_proof
    from gasmcast.report.progress_bars import progress_bars

    def show(result: StageResult) -> None:
        detail = f": {result.text}" if result.text else ""
        typer.echo(f"{result.state:8} {result.name} ({result.seconds:.0f} s){detail}")

    with clean_end("The proof"), progress_bars() as progress:
        results = prove(folder, rehearse=rehearse, progress=progress, on_stage=show)
    require_proof(results, folder)
    typer.echo(f"Wrote {folder / 'gpu-proof.json'} and {folder / 'gpu-proof.html'}.")


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 1))
    for finding in findings:
        mark = "[green]ok[/]" if finding.state == "ok" else "[yellow]warn[/]"
        # Versions and paths may contain brackets, which rich would take for markup.
        text = escape(finding.text)
        if finding.remedy:
            text += f"\n[dim]{escape(finding.remedy)}[/]"
        table.add_row(mark, finding.topic, text)
    Console().print(table)
