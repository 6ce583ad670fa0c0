"""`gasmcast replay`: make the decisions of a recorded run again and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.errors import GateError

if TYPE_CHECKING:
    from gasmcast.runtime.records import Sink

__all__ = ["replay"]

_SHOWN_DIFFERENCES = 10


def replay(
    recording: Annotated[Path, typer.Argument(help="What `gasmcast live --record` wrote.")],
    config: Annotated[
        Path | None,
        typer.Option(help="YAML of other settings, to see what they would have changed."),
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(help="Every record as a line of JSON; - is standard output."),
    ] = None,
) -> None:
    """Make the decisions of a recording again and compare them with the recorded ones.

    It needs no bundle, no engine and no video. With the recorded settings every decision and event
    must be the same, or the exit code is 4.

    Examples:
        gasmcast replay run.jsonl

        gasmcast replay run.jsonl --config other.yaml --jsonl replayed.jsonl
    """
    from gasmcast.commands.output_files import check_outputs
    from gasmcast.runtime.live_settings import load_live_config
    from gasmcast.runtime.recording.replay_decisions import replay as replay_recording
    from gasmcast.runtime.service.secrets import protect_logging

    protect_logging()
    settings = load_live_config(config) if config else None

    # The console or the file is opened only when the recording cannot be overwritten by it.
    check_outputs([str(recording)], [jsonl] if jsonl else [])
    sink = _open_sink(jsonl)
    try:
        result = replay_recording(recording, sink.write, settings)
    finally:
        sink.close()

    # On standard error, because the records may go to standard output.
    for sentence in result.differences[:_SHOWN_DIFFERENCES]:
        typer.echo(sentence, err=True)
    counts = f"{result.decisions} decisions and {result.events} events"
    if settings is not None:
        # Differences are what other settings are tried for, not a failure.
        typer.echo(
            f"Replayed {counts} with other settings; {len(result.differences)} differ from the "
            "recording.",
            err=True,
        )
        return
    if not result:
        raise GateError(
            f"{recording}: the replay differs from the recording in {len(result.differences)} "
            "places.",
            "Was it edited?",
        )
    typer.echo(f"Replayed {counts}: all as recorded.", err=True)


def _open_sink(jsonl: Path | None) -> Sink:
    from gasmcast.runtime.sinks.console import ConsoleSink
    from gasmcast.runtime.sinks.jsonl import JsonlSink

    return JsonlSink(jsonl) if jsonl else ConsoleSink()
