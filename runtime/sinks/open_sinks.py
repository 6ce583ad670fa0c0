"""Sinks of a command line, each behind its own queue."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from gasmcast.runtime.recording.recorder import Recorder
from gasmcast.runtime.records import Sink
from gasmcast.runtime.service.health import Health
from gasmcast.runtime.service.secrets import warn_of_secret
from gasmcast.runtime.sinks.queue import QueuedSink, QueuedViewSink

__all__ = ["build_sinks", "sink_stats"]


def build_sinks(
    *,
    console: bool = False,
    jsonl: Path | None = None,
    save: Path | None = None,
    mqtt: str | None = None,
    webhook: str | None = None,
    metrics: str | None = None,
    several: bool = False,
    files: Collection[str] = (),
    health: Health | None = None,
) -> list[QueuedSink]:
    """Create the requested sinks now, so that a wrong setting is an error before the run starts.

    Args:
        console: a table, or lines, on standard error.
        jsonl: file of records; `-` is standard output.
        save: path of annotated video.
        mqtt: URL of a broker.
        webhook: URL that receives events.
        metrics: address of `/metrics` and `/health`.
        several: there is more than one source, and each has its own video.
        files: names of sources that are not live; none of their records is dropped.
        health: watches each sink, and is served with the metrics.

    Raises:
        UsageError: a wrong address or path.
        MachineError: a path that cannot be written, an address in use, a package that is missing.
    """
    for url in (mqtt, webhook):
        warn_of_secret(url or "")

    # Each maker imports its own libraries, and only when the sink is requested.
    makers: dict[str, Callable[[], Sink]] = {}
    if console:
        makers["console"] = _console
    if jsonl is not None:
        makers["jsonl"] = partial(_jsonl, jsonl)
    if save is not None:
        makers["video"] = partial(_video, save, several)
    if mqtt is not None:
        makers["mqtt"] = partial(_mqtt, mqtt)
    if webhook is not None:
        makers["webhook"] = partial(_webhook, webhook)
    if metrics is not None:
        makers["metrics"] = partial(_metrics, metrics, health)
    return _start(makers, files, health)


def sink_stats(sinks: Collection[Sink]) -> dict[str, dict[str, int]]:
    """Return what each sink wrote and dropped, for `Stats.sinks`."""
    return {sink.name: sink.stats() for sink in sinks if isinstance(sink, QueuedSink | Recorder)}


def _start(
    makers: dict[str, Callable[[], Sink]], files: Collection[str], health: Health | None
) -> list[QueuedSink]:
    sinks: list[QueuedSink] = []
    try:
        for name, make in makers.items():
            # Pictures are large, so few of them may wait.
            kind, room = (QueuedViewSink, 48) if name == "video" else (QueuedSink, 1024)
            sink = kind(name, make, room=room, lossless=files)
            sinks.append(sink)
            if health is not None:
                health.watch_trouble(f"sink {name}", partial(getattr, sink, "trouble"))
    except BaseException:
        # The threads of the sinks before the one that failed must not outlive the error.
        for sink in sinks:
            sink.close(1.0)
        raise
    return sinks


# Each sink imports its libraries only when it is requested.


def _console() -> Sink:
    from gasmcast.runtime.sinks.console import ConsoleSink  # noqa: PLC0415 - see above

    return ConsoleSink()


def _jsonl(path: Path) -> Sink:
    from gasmcast.runtime.sinks.jsonl import JsonlSink  # noqa: PLC0415 - see above

    return JsonlSink(path)


def _video(path: Path, several: bool) -> Sink:
    from gasmcast.runtime.sinks.video_file import VideoSink  # noqa: PLC0415 - see above

    return VideoSink(path, several)


def _mqtt(url: str) -> Sink:
    from gasmcast.runtime.sinks.mqtt import MqttSink  # noqa: PLC0415 - see above

    return MqttSink(url)


def _webhook(url: str) -> Sink:
    from gasmcast.runtime.sinks.webhook import WebhookSink  # noqa: PLC0415 - see above

    return WebhookSink(url)


def _metrics(address: str, health: Health | None) -> Sink:
    from gasmcast.runtime.sinks.prometheus import MetricsSink  # noqa: PLC0415 - see above

    return MetricsSink(address, health)
