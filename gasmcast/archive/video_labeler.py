"""Run video files through the pipeline of `gasmcast live`, several at once, on one engine."""

from __future__ import annotations

import time
from collections.abc import Callable

from gasmcast.errors import GasmcastError, SourceError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.records import Decision, Event, Record
from gasmcast.runtime.streaming_model import Model
from gasmcast.video.reader import read_frames

__all__ = ["VideoLabeler"]

_POLL_S = 1.0


class VideoLabeler:
    """Pipeline of one model that labels files; `label` may be called from several threads.

    One thread decodes each file, and the encoder and the head have a thread each, so that the
    encoder need not wait for a file to be opened. The records are those of `gasmcast live FILE`.

    Args:
        model: engines and labels.
        config: settings of decisions and events.
    """

    def __init__(self, model: Model, config: LiveConfig) -> None:
        self._takers: dict[str, Callable[[Decision | Event], None]] = {}
        self._pipeline = Pipeline(model, config, self._emit)
        self._pipeline.start()

    def label(self, video: str, take: Callable[[Decision | Event], None]) -> float:
        """Label one file, which no other thread labels at the same time.

        Args:
            video: path of the file.
            take: called with every decision and event in order, on a thread of the pipeline.

        Returns:
            Seconds of video up to the last frame.

        Raises:
            SourceError: the file cannot be read, or not to its end. The records of what was read
                have been taken.
            StageError: an engine failed.
        """
        self._takers[video] = take
        lane = self._pipeline.add(video, live=False)
        seconds = 0.0
        error: GasmcastError | None = None
        try:
            try:
                for stamp_s, image in read_frames(video):
                    lane.on_frame(Frame(stamp_s=stamp_s, arrival=time.monotonic(), image=image))
                    seconds = stamp_s
            except SourceError as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - one odd file must not end all others
                error = SourceError(f"Its reader broke ({type(failure).__name__}: {failure}).")
            finally:
                lane.on_end(error)

            # The stages decide what waits. If one of them failed, `wait` raises its error.
            while not self._pipeline.remove(video, _POLL_S):
                self._pipeline.wait(0.0)
        finally:
            del self._takers[video]
        if error is not None:
            raise error
        return seconds

    def close(self) -> None:
        """Stop the stages."""
        self._pipeline.stop()

    def _emit(self, record: Record) -> None:
        # Notices and statistics are for operators of cameras.
        if isinstance(record, Decision | Event):
            self._takers[record.camera](record)
