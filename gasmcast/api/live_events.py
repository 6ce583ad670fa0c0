"""Run cameras and files live, and iterate over their events; works without torch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasmcast.runtime.camera_list import CameraList
from gasmcast.runtime.capacity import fit
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Event, Record
from gasmcast.runtime.session import Session
from gasmcast.runtime.streaming_model import open_model
from gasmcast.schema import check_settings

if TYPE_CHECKING:
    from gasmcast.errors import GasmcastError

__all__ = ["live"]


def live(
    sources: str | Path | Sequence[str | Path],
    *,
    bundle: str | Path,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    settings: Mapping[str, Any] | None = None,
    realtime: bool = False,
    duration_s: float | None = None,
) -> Iterator[Event]:
    """Recognize actions in cameras and files, and yield their events as they happen.

    Sources are opened before this returns, so wrong ones raise at once. Cameras reconnect by
    themselves; closing the iterator (or leaving its loop) stops the run.

    Args:
        sources: one or several of: webcam index as text, /dev/video0, rtsp(s)://, http(s)://, a
            file, a folder, a glob, "demo:", "@cameras.yaml".
        bundle: folder that `gasmcast export` wrote.
        engine: "auto", "openvino", "onnxruntime" or "tensorrt".
        precision: "auto", or a precision of the bundle.
        threads: CPU threads; None uses all cores.
        settings: keys of `live.yaml`.
        realtime: play files at their own pace, as a camera would.
        duration_s: stop after this time; None runs until every source has ended.

    Raises:
        UsageError: a wrong source, bundle or setting.
        SourceError: after the last event, if a source failed for good.

    Example:
        >>> import gasmcast
        >>> for event in gasmcast.live("clip.mp4", bundle="demo.gasm"):
        ...     print(event.camera, event.phase, event.label)
    """
    texts = [str(sources)] if isinstance(sources, str | Path) else [str(one) for one in sources]
    config = check_settings(LiveConfig, dict(settings or {}), "settings")
    cameras = CameraList(texts, config, realtime=realtime)

    opened = open_model(Path(bundle), engine, precision, threads, tempo=config.tempo)
    model, _, capacity = fit(opened, config, len(cameras.entries) - len(cameras.files))
    run = _Run(Session(model, config, (sink := _EventQueue(),), capacity=capacity))
    cameras.fill(run.session)
    return run.events(sink, duration_s)


class _EventQueue:
    """Sink that hands events to the iterating thread."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def write(self, record: Record) -> None:
        """Keep events, ignore other records."""
        if isinstance(record, Event):
            self.queue.put(record)

    def close(self) -> None:
        """Do nothing; the end of the run is marked by the thread that runs it."""


class _Run:
    """Session on a thread of its own."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._errors: Sequence[GasmcastError] = ()
        self._failure: BaseException | None = None

    def events(self, sink: _EventQueue, duration_s: float | None) -> Iterator[Event]:
        thread = threading.Thread(
            target=self._work, args=(sink, duration_s), name="gasmcast.live", daemon=True
        )
        thread.start()
        try:
            while (event := sink.queue.get()) is not None:
                yield event
        finally:
            self.session.stop()
            thread.join()

        # Reached only when the run ended by itself.
        if self._failure is not None:
            raise self._failure
        if self._errors:
            raise self._errors[0]

    def _work(self, sink: _EventQueue, duration_s: float | None) -> None:
        try:
            self._errors = self.session.run(duration_s)
        except BaseException as error:  # noqa: BLE001 - raised again in the iterating thread
            self._failure = error
        finally:
            sink.queue.put(None)
