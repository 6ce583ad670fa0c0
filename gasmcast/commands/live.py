"""`gasmcast live`: recognize actions from cameras and files as they happen."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gasmcast.commands.engine_options import MODEL, EngineChoice, Precision
from gasmcast.commands.live_status import print_nothing, print_status, raise_first, summary
from gasmcast.commands.output_files import OutputFiles
from gasmcast.commands.quantities import parse_count, parse_seconds
from gasmcast.commands.web_view import ADDRESS, open_attention, open_web_view, start_web_view
from gasmcast.errors import UsageError

if TYPE_CHECKING:
    from gasmcast.runtime.camera_list import CameraList
    from gasmcast.runtime.capacity import Fitted
    from gasmcast.runtime.live_settings import LiveConfig
    from gasmcast.runtime.sinks.window import WindowSink
    from gasmcast.runtime.streaming_model import Model, OpenedModel

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
    tempo: Annotated[
        float | None,
        typer.Option(
            min=0.25,
            max=4.0,
            help="How many times as fast as in the training the actions are.",
            rich_help_panel=_BEHAVIOR,
        ),
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
        "tempo": tempo,
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
    view = open_web_view(ctx, web, keep, browser_cameras=allow_browser_cameras)
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
    report = print_nothing if quiet else print_status
    try:
        opened = open_model(bundle, engine, precision, threads, tempo=settings.tempo)
        report(f"engine: {opened.description}")
        settings = _with_thresholds(opened.model, settings, report)
        several = allow_browser_cameras or reloadable
        model, description, capacity = _fit(opened, settings, cameras, report, several=several)
        recorder = Recorder(record, model, settings, description) if record else None
        if recorder:
            health.watch_trouble("recording", lambda: recorder.trouble)

        attention = None if view is None else open_attention(bundle)
        session = Session(
            model,
            settings,
            [*sinks, *([] if window is None else [window]), *([] if view is None else [view.feed])],
            recorder=recorder,
            capacity=capacity,
            health=health,
            on_window=attention.offer if attention else None,
        )
        start_web_view(view, session, model, description, attention, report)
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
    errors = session.run(duration, pump, reload, open_ended=not sources)
    raise_first(errors, ordered=session.stopped)

    recording = recorder.path if recorder else None
    report(summary(session.pipeline.totals(), files.written(cameras.entries, recording), recording))


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


def _fit(
    opened: OpenedModel,
    settings: LiveConfig,
    cameras: CameraList,
    report: Callable[[str], None],
    *,
    several: bool,
) -> Fitted:
    """Fit the engines to the live cameras; report what the machine can serve.

    Args:
        opened: engines compiled for latency.
        settings: settings of the run.
        cameras: the sources.
        report: prints a line.
        several: cameras may join the run.
    """
    from gasmcast.runtime.capacity import fit

    live = len(cameras.entries) - len(cameras.files)
    fitted = fit(opened, settings, max(live, 2) if several else live)
    if fitted.model is not opened.model:
        report(f"Several cameras: {fitted.model.rows_at_once} segments are computed at a time.")
    if live or several:
        report(fitted.capacity.sentence(fitted.model.spec, settings.hop))
    return fitted
