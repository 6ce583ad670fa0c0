"""`gasmcast live`: recognize actions from cameras and files as they happen."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.commands.engine_options import MODEL, EngineChoice, Precision
from gasmcast.commands.output_files import OutputFiles
from gasmcast.commands.quantities import parse_count, parse_hours, parse_seconds
from gasmcast.commands.web_view import ADDRESS, WebView
from gasmcast.errors import GasmcastError, UsageError
from gasmcast.terminal_text import printable

if TYPE_CHECKING:
    from gasmcast.runtime.attention_view import AttentionView
    from gasmcast.runtime.capacity import Capacity
    from gasmcast.runtime.live_settings import LiveConfig
    from gasmcast.runtime.session import Session
    from gasmcast.runtime.sinks.window import WindowSink
    from gasmcast.runtime.streaming_model import Model

__all__ = ["live"]

# Panels of the help page, in the order of their importance.
_OUTPUT = "Output"
_DISPLAY = "Display"
_BEHAVIOR = "Behavior"
_SERVICE = "Service"


def live(
    ctx: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="0, /dev/video0, rtsp(s)://, http(s)://, a file, folder, glob; "
            "demo:, replay:, @cameras.yaml"
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="What `gasmcast export` wrote.", rich_help_panel=MODEL),
    ] = None,
    engine: EngineChoice = "auto",
    precision: Precision = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; all cores if not given.", rich_help_panel=MODEL),
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(
            help="Every record as a line of JSON; - is standard output, with no console.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Annotated video, e.g. out.mp4; an existing file is overwritten.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Record time stamps, drops, logits and decisions for `gasmcast replay`; "
            "never overwritten.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option("--show", help="A window with all cameras.", rich_help_panel=_DISPLAY),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", help="Print nothing on the console but errors.", rich_help_panel=_DISPLAY
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML of settings: smoothing, thresholds, groups, ...; see docs/howto/live.md.",
            rich_help_panel=_BEHAVIOR,
        ),
    ] = None,
    hop: Annotated[
        int | None,
        typer.Option(min=1, help="Segments between decisions.", rich_help_panel=_BEHAVIOR),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Target latency, as 150ms or 0.5s.", rich_help_panel=_BEHAVIOR),
    ] = None,
    max_cameras: Annotated[
        str | None,
        typer.Option(
            help="Cameras served at once: a number, or auto (measured).",
            rich_help_panel=_BEHAVIOR,
        ),
    ] = None,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime",
            help="Play files at their own pace, as a camera would.",
            rich_help_panel=_BEHAVIOR,
        ),
    ] = False,
    duration: Annotated[
        float | None,
        typer.Option(min=0.1, help="Stop after this many seconds.", rich_help_panel=_BEHAVIOR),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="host:port for /metrics and /health.", rich_help_panel=_SERVICE),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            help="mqtt:// or mqtts://user:${PASS}@host:port/prefix; prefix: gasmcast. With "
            "?discovery=homeassistant, Home Assistant finds the cameras.",
            rich_help_panel=_SERVICE,
        ),
    ] = None,
    web: Annotated[
        str | None,
        typer.Option(
            "--web",
            metavar="[HOST:PORT]",
            help=f"A page with pictures, decisions and events, at {ADDRESS} by default.",
            rich_help_panel=_DISPLAY,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="With --web: store events and small pictures of them this long, as 24h or 7d.",
            rich_help_panel=_DISPLAY,
        ),
    ] = None,
    allow_browser_cameras: Annotated[
        bool,
        typer.Option(
            "--allow-browser-cameras",
            help="With --web: an opened page may be a camera.",
            rich_help_panel=_DISPLAY,
        ),
    ] = False,
    webhook: Annotated[
        str | None, typer.Option(help="URL that takes events.", rich_help_panel=_SERVICE)
    ] = None,
    webhook_timeout: Annotated[
        float,
        typer.Option(min=0.1, max=25.0, help="Seconds for one attempt.", rich_help_panel=_SERVICE),
    ] = 5.0,
) -> None:
    """Recognize actions in cameras and files, live.

    Examples:
        gasmcast live clip.mp4 --bundle demo/demo.gasm --jsonl out.jsonl --save annotated.mp4

        gasmcast live 0 rtsp://camera/stream --bundle model.gasm --budget 300ms --max-cameras auto

        gasmcast live demo: --bundle demo/demo.gasm --web

        gasmcast live --bundle demo/demo.gasm --web --allow-browser-cameras

        gasmcast live clip.mp4 --bundle model.gasm --record run.jsonl && gasmcast replay run.jsonl
    """
    from gasmcast.runtime.camera_list import CameraList
    from gasmcast.runtime.live_settings import load_live_config
    from gasmcast.runtime.recording.recorder import Recorder
    from gasmcast.runtime.service.health import Health
    from gasmcast.runtime.service.reload_signal import ReloadSignal
    from gasmcast.runtime.service.secrets import protect_logging
    from gasmcast.runtime.session import Session
    from gasmcast.runtime.sinks.open_sinks import build_sinks
    from gasmcast.runtime.streaming_model import open_model

    protect_logging()
    # A terminal sends SIGHUP when it closes; then the run must end, not reload. A reload that is
    # requested before the run is ready waits, because until then SIGHUP would end the process.
    reload_signal = ReloadSignal()
    reloadable = any(text.startswith("@") for text in sources or ()) and not os.isatty(0)
    if reloadable:
        ctx.with_resource(reload_signal.installed())

    flags = {
        "hop": hop,
        "budget_s": parse_seconds(budget),
        "max_cameras": parse_count(max_cameras),
    }
    settings = load_live_config(config, flags)

    sources, bundle = _check_given(sources, bundle, browser_cameras=allow_browser_cameras)

    # Everything that a wrong flag can break comes before seconds of compiling.
    files = OutputFiles(jsonl=jsonl, save=save, record=record)
    cameras = CameraList(sources, settings, realtime=realtime, check=files.check)
    health = Health()
    window = _open_window() if show else None
    view = _open_view(ctx, web, keep, browser_cameras=allow_browser_cameras)
    sinks = build_sinks(
        console=not quiet and str(jsonl) != "-",
        jsonl=jsonl,
        save=save,
        mqtt=mqtt,
        webhook=webhook,
        webhook_timeout_s=webhook_timeout,
        metrics=metrics,
        several=len(cameras.entries) > 1,
        files=cameras.files,
        health=health,
    )

    # From here on sinks have threads and open files, which an error must close.
    report = _print_nothing if quiet else _print_status
    try:
        model, description = open_model(bundle, engine, precision, threads)
        report(f"engine: {description}")
        settings = _with_thresholds(model, settings, report)

        any_live = allow_browser_cameras or len(cameras.files) < len(cameras.entries)
        capacity = _measure(model, settings.hop, any_live, report)
        recorder = Recorder(record, model, settings, description) if record else None
        if recorder:
            health.watch_trouble("recording", lambda: recorder.trouble)

        attention = None if view is None else _open_attention(bundle)
        session = Session(
            model,
            settings,
            [*sinks, *([] if window is None else [window]), *([] if view is None else [view.feed])],
            recorder=recorder,
            capacity=capacity,
            health=health,
            on_window=attention.offer if attention else None,
        )
        _start_view(view, session, model, description, attention, report)
        cameras.fill(session)
    except BaseException:
        for sink in sinks:
            sink.close(1.0)
        raise

    # A request that came while the engines were compiled is served first.
    reload = None
    if reloadable:
        reload = partial(cameras.reload, session)
        reload_signal.forward(session.request_reload)
    pump = window.pump if window else None
    errors = session.run(duration, pump, reload, until_stopped=not sources)
    _raise_first(errors, ordered=session.stopped)

    recording = recorder.path if recorder else None
    report(_summary(session, files.written(cameras.entries, recording), recording))


def _check_given(
    sources: list[str] | None, bundle: Path | None, *, browser_cameras: bool
) -> tuple[list[str], Path]:
    """Return sources and bundle; Typer's own messages would not say what to do next.

    Raises:
        UsageError: there is no bundle; or no source, and no browser may become one.
    """
    if not sources and not browser_cameras:
        raise UsageError(
            "There is no source.",
            "Give 0, a file, rtsp://..., demo: or @cameras.yaml, or take browsers as cameras by "
            "--web --allow-browser-cameras; see gasmcast live --help.",
        )
    if bundle is None:
        raise UsageError(
            "There is no bundle.",
            "Give --bundle MODEL.gasm; `gasmcast export` makes one, `gasmcast demo` a first one.",
        )
    return sources or [], bundle


def _open_view(
    ctx: typer.Context, web: str | None, keep: str | None, *, browser_cameras: bool
) -> WebView | None:
    """Return the web view if it is wanted; it is closed when the command ends."""
    if web is None:
        if keep or browser_cameras:
            raise UsageError("--keep and --allow-browser-cameras need --web.", "Add --web.")
        return None
    view = WebView(web, parse_hours(keep), cameras=browser_cameras)
    ctx.call_on_close(view.close)
    return view


def _start_view(
    view: WebView | None,
    session: Session,
    model: Model,
    description: str,
    attention: AttentionView | None,
    report: Callable[[str], None],
) -> None:
    """Serve the page, before the cameras start."""
    if view is not None:
        text = view.start(session, model, description, attention)
        # With --quiet as well: nobody could log in with a token that was never shown.
        (_print_status if view.token else report)(text)


def _open_attention(bundle: Path) -> AttentionView | None:
    """Return the attention view of a bundle; None if it was exported without attention graphs."""
    from gasmcast.runtime.attention_view import AttentionView
    from gasmcast.runtime.bundle import Bundle

    opened = Bundle.open(bundle)
    return AttentionView(opened) if opened.has_attention else None


def _open_window() -> WindowSink:
    from gasmcast.runtime.sinks.window import WindowSink

    return WindowSink()


def _with_thresholds(
    model: Model, settings: LiveConfig, report: Callable[[str], None]
) -> LiveConfig:
    """Return the settings with the bundle's thresholds; report the rate of false alarms."""
    from gasmcast.runtime.alarms.rate_watch import rate_sentence
    from gasmcast.runtime.live_settings import with_defaults

    settings = with_defaults(settings, model.event_defaults)
    report(rate_sentence(model, settings))
    return settings


def _measure(model: Model, hop: int, any_live: bool, report: Callable[[str], None]) -> Capacity:
    """Measure the machine; report what it can serve if there are live cameras."""
    from gasmcast.runtime.capacity import measure

    # Files wait, so for them only the time after which a stage counts as hanging matters.
    if not any_live:
        return measure(model, repeats=1)

    capacity = measure(model, batches=True)
    report(capacity.sentence(model.spec, hop))
    return capacity


def _raise_first(errors: Sequence[GasmcastError], *, ordered: bool) -> None:
    """Print the errors of single sources; raise the first unless the end was requested.

    A requested end is no fault of the sources, so its exit status is 0.
    """
    for error in errors if ordered else errors[1:]:
        typer.secho(f"error: {printable(str(error))}", fg=typer.colors.RED, err=True)
    if errors and not ordered:
        raise errors[0]


def _summary(session: Session, written: list[Path], recording: Path | None) -> str:
    """Return the last line: what was decided and written, and a next step."""
    lanes = session.pipeline.lanes.values()
    decisions = sum(lane.decisions for lane in lanes)
    text = f"{decisions} decisions from {len(lanes)} source{'' if len(lanes) == 1 else 's'}."

    # The next step depends on what this run left behind.
    if written:
        text += f" Wrote {', '.join(map(str, written))}."
    if recording:
        text += f" Next: gasmcast replay {recording}"
    elif not written:
        text += " Next: add --jsonl FILE or --save FILE.mp4."
    return text


def _print_status(text: str) -> None:
    # Names of files and cameras come from outside.
    typer.echo(printable(text), err=True)


def _print_nothing(_: str) -> None:
    """Ignore a status line, for `--quiet`."""
