"""`gasmcast classify`: label files, folders and manifests of videos, on one machine or many."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from gasmcast.commands.engine_options import MODEL, BundlePath, EngineChoice, Precision
from gasmcast.errors import SourceError, UsageError
from gasmcast.terminal_text import printable

__all__ = ["classify"]

_WORKERS = "Workers"


def classify(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Videos, folders, quoted patterns, or manifests: .csv, .parquet, .jsonl.",
        ),
    ],
    bundle: BundlePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write, or to continue in.")],
    engine: EngineChoice = "auto",
    precision: Precision = "auto",
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML of settings, as for `gasmcast live`; see docs/howto/live.md.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Worker processes, each with an engine; as many as fit if not given.",
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads of one worker; the cores are split if not given.",
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Run the workers on a Ray cluster: local, auto, host:6379 or ray://host:10001.",
            rich_help_panel=_WORKERS,
        ),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Label inputs again that failed in an earlier run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Label an archive of videos: a Parquet file of decisions and events for each of them.

    The same command continues a run that was ended; each input is in the output exactly once. Bad
    files are listed in failed.jsonl. The records are those of `gasmcast live` on the same file.

    Examples:
        gasmcast classify clips --bundle demo/demo.gasm --out labels

        gasmcast classify list.csv 'more/*.mp4' --bundle model.gasm --out labels --workers 2

        gasmcast classify list.parquet --bundle model.gasm --out /shared/labels --ray head:6379
    """
    from gasmcast.api.archives import classify as classify_inputs
    from gasmcast.commands.clean_exit import clean_end
    from gasmcast.report.progress_bars import progress_bars
    from gasmcast.runtime.live_settings import load_live_config

    if any("://" in text for text in inputs):
        raise UsageError(
            "`gasmcast classify` reads files.", "For cameras and streams use `gasmcast live`."
        )
    settings = load_live_config(config).model_dump()

    hint = "The same command continues."
    # Ray prints messages of its own to standard output, which is for the result.
    aside = redirect_stdout(sys.stderr)
    with clean_end("The run", hint), aside, progress_bars() as progress:
        result = classify_inputs(
            inputs,
            bundle=bundle,
            out=out,
            engine=engine,
            precision=precision,
            workers=workers,
            threads=threads,
            settings=settings,
            ray=ray,
            retry=retry,
            progress=progress,
        )

    typer.echo(json.dumps(result.to_json()) if as_json else printable(str(result), keep="\n"))
    # Some bad files are normal in an archive; nothing but bad files is not.
    if result.failed == result.inputs:
        raise SourceError("Not one input could be read.", f"See {out / 'failed.jsonl'}.")
    if not as_json:
        pattern = f"{out}/records/*/*.parquet"
        typer.echo(f"Wrote {out}. Next: read {pattern} with DuckDB, pandas or Spark.")
