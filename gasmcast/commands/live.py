"""`gasmcast live`: actions recognized as they happen, from cameras and files."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gasmcast.errors import GateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gasmcast.runtime.camera_list import Entry
    from gasmcast.runtime.governor import Capacity
    from gasmcast.runtime.live_settings import LiveConfig
    from gasmcast.runtime.session import Session
    from gasmcast.runtime.sinks.window import WindowSink
    from gasmcast.runtime.stages import Model

__all__ = ["live"]


def live(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="0, /dev/video0, rtsp(s)://, http(s)://, a file, folder, glob; demo:, replay:, @cameras.yaml"
        ),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-b", help="What `gasmcast export` wrote.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, or a precision of the bundle.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores if not given.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML of settings: smoothing, thresholds, groups, ...; see docs/live.md."
        ),
    ] = None,
    hop: Annotated[int | None, typer.Option(min=1, help="Segments between decisions.")] = None,
    budget: Annotated[str | None, typer.Option(help="Latency to keep, as 150ms or 0.5s.")] = None,
    max_cameras: Annotated[
        str | None, typer.Option(help="Cameras served at once: a number, or auto (measured).")
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play files at their own pace, as a camera would.")
    ] = False,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Stop after so many seconds.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Nothing on the console but errors.")
    ] = False,
    jsonl: Annotated[
        Path | None,
        typer.Option(help="Every record as a line of JSON; - is standard output, with no console."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Annotated video, e.g. out.mp4; overwritten if it is there.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="A window with all cameras.")] = False,
    mqtt: Annotated[
        str | None,
        typer.Option(help="mqtt:// or mqtts://user:${PASS}@host:port/prefix; prefix: gasmcast."),
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="URL that takes events.")] = None,
    metrics: Annotated[str | None, typer.Option(help="host:port for /metrics and /health.")] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Record time stamps, drops, logits and decisions; never overwritten."),
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Make the decisions of a recording again and compare.")
    ] = None,
) -> None:
    """Recognize actions in cameras and files, live.

    gasmcast live clip.mp4 --bundle demo/demo.gasm --jsonl out.jsonl --save annotated.mp4

    gasmcast live 0 rtsp://camera/stream --bundle model.gasm --budget 300ms --max-cameras auto

    gasmcast live clip.mp4 --bundle model.gasm --record run.jsonl && gasmcast live --replay run.jsonl
    """
    from gasmcast.runtime.live_settings import load_live_config
    from gasmcast.runtime.service.health import Health
    from gasmcast.runtime.service.secrets import protect_logging
    from gasmcast.runtime.sinks.open_sinks import build_sinks

    protect_logging()
    flags = {"hop": hop, "budget_s": _seconds(budget), "max_cameras": _count(max_cameras)}
    if replay is not None:
        _only_with_replay(context, "config", "jsonl")
        _replay(replay, load_live_config(config) if config else None, jsonl)
        return
    settings = load_live_config(config, flags)
    if not sources:
        raise UsageError(
            "There is no source.",
            "Give 0, a file, rtsp://..., demo: or @cameras.yaml; see gasmcast live --help.",
        )
    if bundle is None:
        raise UsageError(
            "There is no bundle.",
            "Give --bundle MODEL.gasm; `gasmcast export` makes one, `gasmcast demo` a first one.",
        )

    from gasmcast.runtime.camera_list import Roster
    from gasmcast.runtime.recording.recorder import Journal
    from gasmcast.runtime.session import Session, open_model

    roster = Roster(
        sources, settings, realtime=realtime, check=partial(_spare_sources, jsonl, save, record)
    )
    say = _silence if quiet else _say
    health, window = (
        Health(),
        _window() if show else None,
    )  # a wrong flag is told before seconds of compiling
    sinks = build_sinks(
        console=not quiet and str(jsonl) != "-",
        jsonl=jsonl,
        save=save,
        mqtt=mqtt,
        webhook=webhook,
        metrics=metrics,
        several=len(roster.entries) > 1,
        files=roster.files,
        health=health,
    )
    try:
        model, line = open_model(bundle, engine, precision, threads)
        say(f"engine: {line}")
        capacity = _measure(model, settings.hop, len(roster.files) < len(roster.entries), say)
        journal = Journal(record, model, settings, line) if record else None
        if journal:
            health.watch_trouble("recording", lambda: journal.trouble)
        session = Session(
            model,
            settings,
            [*sinks, *([window] if window else [])],
            journal=journal,
            capacity=capacity,
            health=health,
        )
        roster.fill(session)
    except BaseException:
        for sink in sinks:
            sink.close(1.0)
        raise
    # A terminal sends SIGHUP when it closes, and what ran in it ends.
    renew = partial(roster.renew, session) if roster.listed and not os.isatty(0) else None
    errors = session.run(duration, window.pump if window else None, renew)
    for error in errors if session.stopped else errors[1:]:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    if (
        errors and not session.stopped
    ):  # an ordered end is none of the sources' doing: its status is 0
        raise errors[0]
    recording = journal.path if journal else None
    written = [
        path
        for path in (jsonl, *_films(save, roster.entries), recording)
        if path and str(path) != "-" and path.exists()
    ]
    say(_last_line(session, written, recording))


def _films(save: Path | None, entries: list[Entry]) -> list[Path]:
    from gasmcast.runtime.sinks.video_file import film_path

    return (
        [film_path(save, entry.source.name, len(entries) > 1) for entry in entries] if save else []
    )


def _spare_sources(
    jsonl: Path | None, save: Path | None, record: Path | None, entries: list[Entry]
) -> None:
    _spare(
        [entry.told_as for entry in entries],
        [path for path in (jsonl, *_films(save, entries), record) if path],
    )


def _spare(sources: list[str], outputs: list[Path]) -> None:
    """No output may replace what is being read, or another output."""
    read, written = {Path(source.removeprefix("replay:")).resolve() for source in sources}, set()
    for path in outputs:
        place = path.resolve()
        if place in read:
            raise UsageError(
                f"{path} is a source of this run and would be overwritten.",
                "Give the output another name.",
            )
        if place in written:
            raise UsageError(
                f"{path} is where two outputs of this run would go.", "Give each its own name."
            )
        written.add(place)


def _measure(model: Model, hop: int, live: bool, say: Callable[[str], None]) -> Capacity:
    from gasmcast.runtime.stages import measure

    if (
        not live
    ):  # files wait: all that counts is how long a stage may take before it is taken to hang
        return measure(model, repeats=1)
    capacity = measure(model)
    say(capacity.sentence(model.spec, hop))
    return capacity


def _window() -> WindowSink:
    from gasmcast.runtime.sinks.window import WindowSink

    return WindowSink()


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _silence(_: str) -> None:
    """Say nothing."""


def _replay(path: Path, settings: LiveConfig | None, jsonl: Path | None) -> None:
    from gasmcast.runtime.recording.replay import replay
    from gasmcast.runtime.sinks.console import ConsoleSink
    from gasmcast.runtime.sinks.jsonl import JsonlSink

    _spare([str(path)], [jsonl] if jsonl else [])
    sink: Any = JsonlSink(jsonl) if jsonl else ConsoleSink()
    try:
        result = replay(path, sink.write, settings)
    finally:
        sink.close()
    for sentence in result.different[:10]:
        typer.echo(sentence, err=True)
    counted = f"{result.decisions} decisions and {result.events} events"
    if settings is not None:
        typer.echo(
            f"Replayed {counted} with other settings; {len(result.different)} differ from the recording.",
            err=True,
        )
    elif not result:
        raise GateError(
            f"{path}: the replay differs from the recording in {len(result.different)} places.",
            "Was it edited?",
        )
    else:
        typer.echo(f"Replayed {counted}: all as recorded.", err=True)


def _only_with_replay(context: typer.Context, *used: str) -> None:
    """Raises: UsageError for what was given beside them: it would do nothing, and look as if it had."""
    names = {
        parameter.name: parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in ("replay", *used)
    }
    given = [
        text
        for name, text in names.items()
        if name and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)}: of no use in a replay.", "Other settings go in by --config."
        )


def _last_line(session: Session, written: list[Path], record: Path | None) -> str:
    lanes = session.pipeline.lanes.values()
    decided = f"{sum(lane.decisions for lane in lanes)} decisions from {len(lanes)} source{'s' if len(lanes) > 1 else ''}"
    wrote = f" Wrote {', '.join(map(str, written))}." if written else ""
    following = (
        f" Next: gasmcast live --replay {record}"
        if record
        else ""
        if written
        else " Next: add --jsonl FILE or --save FILE.mp4."
    )
    return f"{decided}.{wrote}{following}"


def _seconds(text: str | None) -> float | None:
    """150ms, 0.15s or 0.15 as seconds."""
    if text is None:
        return None
    number, share = (text[:-2], 1000.0) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        return float(number) / share
    except ValueError:
        raise UsageError(f"--budget {text!r} is not a time.", "Write 150ms or 0.15s.") from None


def _count(text: str | None) -> int | str | None:
    if text is None or text == "auto":
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"--max-cameras {text!r} is not a number.", "Give a number, or auto.")
