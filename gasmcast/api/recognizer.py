"""Recognize actions in videos and in frames of a capture loop; works without torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import UsageError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.records import Decision, Event, Record
from gasmcast.runtime.streaming_model import open_model
from gasmcast.schema import check_settings
from gasmcast.video.reader import read_frames

if TYPE_CHECKING:
    from gasmcast.runtime.streaming_model import Model
    from gasmcast.spec import ClipSpec

__all__ = ["FrameStream", "Recognition", "Recognizer", "load"]

# A file is read to its end before anything is dropped, so its segments may wait without limit.
_UNBOUNDED = 1_000_000


def load(
    bundle: str | Path,
    engine: str = "auto",
    precision: str = "auto",
    *,
    threads: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Recognizer:
    """Open a bundle and compile it for this machine.

    Args:
        bundle: folder that `gasmcast export` wrote.
        engine: "auto", "openvino", "onnxruntime" or "tensorrt".
        precision: "auto", or a precision of the bundle, such as "int8".
        threads: CPU threads; None uses all cores.
        settings: keys of `live.yaml`, such as `{"on": 0.6}`.

    Raises:
        UsageError: not a bundle, an altered or newer one, an unknown precision or setting.
        MachineError: the engine cannot be used on this machine.

    Example:
        >>> import gasmcast
        >>> recognizer = gasmcast.load("demo.gasm")
        >>> for event in recognizer("clip.mp4").events:
        ...     print(event.phase, event.label, event.onset_s)
    """
    config = check_settings(LiveConfig, dict(settings or {}), "settings")
    model, description = open_model(Path(bundle), engine, precision, threads, tempo=config.tempo)
    return Recognizer(model, config, description)


@dataclass(frozen=True)
class Recognition:
    """Decisions and events of one video; truthy when an event was recognized."""

    decisions: tuple[Decision, ...]
    events: tuple[Event, ...]

    def __bool__(self) -> bool:
        return bool(self.events)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {
            "decisions": [decision.to_json() for decision in self.decisions],
            "events": [event.to_json() for event in self.events],
        }


class Recognizer:
    """Compiled bundle that recognizes actions; create one with `gasmcast.load`."""

    def __init__(self, model: Model, config: LiveConfig, description: str) -> None:
        self._model = model
        self._config = config
        self.engine = description
        """Precision and engine that run, and why they were chosen."""

    def __repr__(self) -> str:
        return f"Recognizer({len(self.labels)} classes, {self.engine})"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; `label_id` of a decision is an index into them."""
        return self._model.labels.names

    @property
    def spec(self) -> ClipSpec:
        """Sampling contract: `window_s`, `fps` and the frame size that the model sees."""
        return self._model.spec

    def __call__(self, video: str | Path) -> Recognition:
        """Recognize the actions of a video file.

        The result equals that of `gasmcast live VIDEO` with the same settings.

        Args:
            video: local file of any container and codec that the reader supports.

        Raises:
            SourceError: the file is missing, damaged, or holds no video.
        """
        decisions: list[Decision] = []
        events: list[Event] = []
        path = Path(video)
        # The largest step within a window is that of files, as in `gasmcast live VIDEO`.
        with FrameStream(
            self._model, self._config, path.stem, on_event=events.append, gap_s=None
        ) as stream:
            for timestamp_s, frame in read_frames(path.absolute()):
                decisions += stream.push(frame, timestamp_s)
            decisions += stream.close()

        return Recognition(tuple(decisions), tuple(events))

    def stream(
        self, name: str = "camera", *, on_event: Callable[[Event], None] | None = None
    ) -> FrameStream:
        """Return a stream for the frames of a capture loop; several may be open at once.

        Args:
            name: name of the camera in decisions and events.
            on_event: called with the start, the updates and the end of each event.

        Example:
            >>> with recognizer.stream(on_event=print) as stream:
            ...     for frame_rgb, timestamp_s in my_frames():
            ...         for decision in stream.push(frame_rgb, timestamp_s):
            ...             print(decision.label, decision.p)
        """
        return FrameStream(
            self._model, self._config, name, on_event=on_event, gap_s=self._config.gap_s
        )


class FrameStream:
    """Frames of one camera, pushed by the caller; decisions come back in the same thread.

    Not thread-safe: push the frames of a stream from one thread.
    """

    def __init__(
        self,
        model: Model,
        config: LiveConfig,
        name: str,
        *,
        on_event: Callable[[Event], None] | None,
        gap_s: float | None,
    ) -> None:
        self.name = name
        self._on_event = on_event
        self._records: list[Record] = []
        self._last_s: float | None = None
        self._closed = False

        # The stages of `gasmcast live`, run step by step on the calling thread.
        waiting = config.model_copy(update={"pending": _UNBOUNDED})
        self._pipeline = Pipeline(model, waiting, self._records.append)
        self._lane = self._pipeline.add(name, live=False, gap_s=gap_s)

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error the rest must not be decided as if the video had ended.
        if kind is None:
            self.close()
        self._closed = True

    def push(self, frame_rgb: NDArray[np.uint8], timestamp_s: float) -> list[Decision]:
        """Take a frame, and return the decisions of the windows that it completes.

        The frame is copied, so its buffer may be reused. A silence longer than the setting
        `gap_s` starts a new window, and ends an open event.

        Args:
            frame_rgb: `(H, W, 3)` uint8 in RGB order. OpenCV delivers BGR, which looks the
                same: convert it with `cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)`.
            timestamp_s: capture time in seconds, of any origin; it must increase.

        Returns:
            Decisions in order, mostly none or one.

        Raises:
            UsageError: wrong type or shape, a timestamp that does not increase, or a closed stream.
        """
        if self._closed:
            raise UsageError(f"The stream {self.name!r} is closed.", "Open another stream.")
        _check_frame(frame_rgb)
        self._check_time(timestamp_s)

        self._last_s = timestamp_s
        frame = Frame(stamp_s=timestamp_s, arrival=time.monotonic(), image=frame_rgb.copy())
        self._lane.on_frame(frame)
        return self._decide()

    def close(self) -> list[Decision]:
        """End the stream, and return the decisions of its last, partly filled segment.

        An open event ends. Calling it again does nothing.
        """
        if self._closed:
            return []
        self._closed = True
        self._lane.on_end(None)
        return self._decide()

    def _decide(self) -> list[Decision]:
        """Run the stages on what waits, and hand out the records that they emit."""
        self._pipeline.run_pending()
        records, self._records[:] = self._records[:], []

        for record in records:
            if isinstance(record, Event) and self._on_event is not None:
                self._on_event(record)
        return [record for record in records if isinstance(record, Decision)]

    def _check_time(self, timestamp_s: float) -> None:
        if not np.isfinite(timestamp_s):
            raise UsageError(f"timestamp_s is {timestamp_s}.", "Give seconds as a finite number.")
        if self._last_s is not None and timestamp_s <= self._last_s:
            raise UsageError(
                f"timestamp_s went from {self._last_s:g} to {timestamp_s:g}.",
                "Timestamps must increase; open another stream for another video.",
            )


def _check_frame(frame: NDArray[np.uint8]) -> None:
    """Raise UsageError unless a frame is `(H, W, 3)` uint8."""
    hint = "Give (H, W, 3) uint8 in RGB order."
    if not isinstance(frame, np.ndarray):
        raise UsageError(f"A frame is an array, not {type(frame).__name__}.", hint)
    if frame.dtype != np.uint8:
        raise UsageError(f"The frame has dtype {frame.dtype}.", hint)
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise UsageError(f"The frame has shape {frame.shape}.", hint)
