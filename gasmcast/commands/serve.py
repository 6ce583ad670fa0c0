"""`gasmcast serve`: bundles over HTTP with the KServe v2 protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gasmcast.commands.engine_options import MODEL, EngineChoice, Precision
from gasmcast.errors import MachineError, UsageError
from gasmcast.missing import install_hint
from gasmcast.terminal_text import printable

__all__ = ["serve"]

_LIMITS = "Limits"


def serve(
    bundles: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE...", help="What `gasmcast export` wrote."),
    ],
    http: Annotated[
        str,
        typer.Option(
            "--http", help="host:port; 0.0.0.0:8000 to be reached from other machines, no TLS."
        ),
    ] = "127.0.0.1:8000",
    engine: EngineChoice = "auto",
    precision: Precision = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads; the cores split by the bundles.", rich_help_panel=MODEL
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML of settings of the streaming models, as for `gasmcast live`.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    max_batch: Annotated[
        int,
        typer.Option(min=1, help="Segments in one encoder batch.", rich_help_panel=_LIMITS),
    ] = 4,
    batch_delay_ms: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1000.0,
            help="Milliseconds that a segment waits for others of its batch.",
            rich_help_panel=_LIMITS,
        ),
    ] = 2.0,
    queue: Annotated[
        int,
        typer.Option(
            min=1, help="Requests in work at once; others get 503.", rich_help_panel=_LIMITS
        ),
    ] = 64,
    memory_mb: Annotated[
        int,
        typer.Option(min=64, help="Megabytes of request bodies at once.", rich_help_panel=_LIMITS),
    ] = 512,
    max_sequences: Annotated[
        int,
        typer.Option(
            min=1, help="Sequences of each streaming model at once.", rich_help_panel=_LIMITS
        ),
    ] = 32,
    idle: Annotated[
        float,
        typer.Option(
            min=1.0,
            help="Seconds after which an unused sequence is forgotten.",
            rich_help_panel=_LIMITS,
        ),
    ] = 60.0,
) -> None:
    """Serve bundles over HTTP with the KServe v2 protocol; see docs/howto/serving.md.

    Each bundle NAME is two models: NAME takes whole clips; NAME_stream takes the segments of a
    sequence and answers as `gasmcast live`. Metrics are at /metrics. SIGTERM ends it gracefully.

    Examples:
        gasmcast serve demo/demo.gasm

        gasmcast serve gestures.gasm doors.gasm --http 0.0.0.0:8000 --max-batch 8
    """
    from gasmcast.archive.worker_plan import available_cores
    from gasmcast.runtime.http.address import bind, parse_address
    from gasmcast.runtime.live_settings import load_live_config
    from gasmcast.runtime.service.secrets import protect_logging

    try:
        from gasmcast.serving.admission import Admission
        from gasmcast.serving.http_app import ServeApp
        from gasmcast.serving.http_server import run_server
        from gasmcast.serving.open_models import open_models
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "starlette":
            raise
        raise MachineError(
            "`gasmcast serve` needs starlette, which is not installed.", install_hint("serve")
        ) from None

    protect_logging()
    settings = load_live_config(config)
    host, port = parse_address(http, 8000)
    # Bound before seconds of compiling; connections wait until the models are ready.
    try:
        listener = bind(host, port)
    except OSError as error:
        raise MachineError(
            f"Nothing can listen at {http} ({error.strerror or error}).",
            "Give --http a free port and an address of this machine.",
        ) from None

    try:
        opened = open_models(
            bundles,
            settings,
            engine=engine,
            precision=precision,
            threads=threads or max(1, available_cores() // len(bundles)),
            max_batch=max_batch,
            delay_s=batch_delay_ms / 1000.0,
            max_sequences=max_sequences,
            idle_s=idle,
        )
        admission = Admission(queue, memory_mb << 20)
        largest = max(model.largest_input for model in opened.models.values())
        if largest + (1 << 20) > memory_mb << 20:
            raise UsageError(
                f"--memory-mb {memory_mb} is less than one request of {largest >> 20} MB.",
                "Give more megabytes.",
            )
        for line in opened.descriptions:
            typer.echo(printable(line), err=True)
        address = f"http://{listener.getsockname()[0]}:{listener.getsockname()[1]}"
        typer.echo(f"Serving {', '.join(opened.models)} at {address}", err=True)
        run_server(ServeApp(opened.models, opened.engines, admission), listener)
    finally:
        listener.close()
    typer.echo("All accepted requests were answered.", err=True)
