"""Stateful model: a client sends the segments of a source, the server keeps its feature ring."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.camera.decisions import Decider, LabelView
from gasmcast.runtime.camera.ring import FeatureRing
from gasmcast.runtime.engines import join_batches
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Decision, Event
from gasmcast.serving.served_engines import ServedEngines
from gasmcast.serving.v2_tensors import InferRequest, Port

__all__ = ["BusyError", "SequenceModel"]

_LONGEST_ID = 64


class BusyError(MachineError):
    """The server is full; the same request may succeed later."""


class _Sequence:
    """State of one source: its last segment, its encoded segments, and its decisions so far."""

    def __init__(
        self, name: str, engines: ServedEngines, labels: LabelView, config: LiveConfig
    ) -> None:
        model = engines.model
        self.ring = FeatureRing(model.spec.segments)
        self.decider = Decider(name, labels, config, model.temperature, model.no_action)
        self.turn = asyncio.Lock()
        self.last: NDArray[np.uint8] | None = None
        self.index = 0
        self.used_at = 0.0
        self.broken = False
        self._engines = engines
        self._hop = config.hop

    async def add(self, segments: NDArray[np.uint8]) -> list[tuple[NDArray[Any], list[Any]]]:
        """Take segments `(n, F, H, W, 3)`; return the logits and records of each due window."""
        spec = self._engines.model.spec
        # The lead-in of a source is its first frame, repeated.
        before = np.broadcast_to(segments[0, 0], segments.shape[1:])
        if self.last is not None:
            before = self.last
        features = await self._engines.encode(np.concatenate([before[None], segments]))
        self.last = segments[-1].copy()

        # A window is a view of the ring, valid until the next segment: it is copied.
        ends_s: list[float] = []
        windows: list[dict[str, NDArray[np.float32]]] = []
        for row in range(len(segments)):
            one = {name: value[row] for name, value in features.items()}
            self.ring.append(0, self.index, one)
            self.index += 1
            window = self.ring.window()
            if window and (self.ring.unbroken - self.ring.segments) % self._hop == 0:
                windows.append({name: value.copy() for name, value in window.items()})
                ends_s.append(self.index * spec.segment_s)
        if not windows:
            return []

        rows = await self._engines.fuse(join_batches(windows))
        decided = []
        for end_s, logits in zip(ends_s, rows, strict=True):
            # One such row in the moving average would spoil all later decisions.
            if np.isfinite(logits).all():
                span_s = (round(end_s - spec.window_s, 6), round(end_s, 6))
                decided.append((logits, self.decider.update(span_s, logits, time.time(), {})))
        return decided

    async def pad(self) -> list[tuple[NDArray[Any], list[Any]]]:
        """Complete the first window of a short source with its last frame, as for a short file."""
        missing = self.ring.segments - self.index
        if missing <= 0 or self.last is None:
            return []
        frame = self.last[-1]
        return await self.add(np.broadcast_to(frame, (missing, *self.last.shape)))


class SequenceModel:
    """Streaming model: segments of a sequence in, decisions and events out.

    Its answers are those of `gasmcast live` on the same segments. A request names its sequence by
    the parameter `sequence_id`; the first one has `sequence_start`, the last one `sequence_end`.
    Requests of one sequence are worked on one after another.

    Args:
        name: name of the model.
        engines: engines of the bundle.
        config: settings of decisions and events.
        max_sequences: sequences that are held at once.
        max_segments: segments of one request.
        idle_s: seconds after which an unused sequence is forgotten.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        engines: ServedEngines,
        config: LiveConfig,
        *,
        max_sequences: int,
        max_segments: int,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        model = engines.model
        shape = model.spec.clip_shape[1:]

        # Description of the model for clients.
        self.name = name
        self.inputs = {"segments": Port("segments", "UINT8", (-1, *shape))}
        self.outputs = {
            "logits": Port("logits", "FP32", (-1, len(model.labels.names))),
            "time_s": Port("time_s", "FP64", (-1,)),
            "label_id": Port("label_id", "INT64", (-1,)),
            "label": Port("label", "BYTES", (-1,)),
            "p": Port("p", "FP64", (-1,)),
            "events": Port("events", "BYTES", (-1,)),
        }
        self.largest_input = max_segments * int(np.prod(shape))
        self.about = {
            "labels": list(model.labels.names),
            "segment_s": model.spec.segment_s,
            "max_segments": max_segments,
            "idle_s": idle_s,
        }

        self._engines, self._config = engines, config
        self._labels = LabelView(model.labels, config)
        self._max_sequences, self._max_segments = max_sequences, max_segments
        self._idle_s, self._clock = idle_s, clock
        self._sequences: dict[str, _Sequence] = {}

    async def infer(self, request: InferRequest) -> dict[str, NDArray[Any]]:
        """Return a row for each decision, and the events, of `segments` `(n, F, H, W, 3)`.

        Raises:
            UsageError: no id, a sequence that was never started or was forgotten, or too many
                segments.
            BusyError: too many sequences.
        """
        segments = request.inputs["segments"]
        if len(segments) > self._max_segments:
            raise UsageError(
                f"A request may hold {self._max_segments} segments, it has {len(segments)}."
            )
        name = _sequence_id(request.parameters.get("sequence_id"))
        sequence = self._find(name, start=request.parameters.get("sequence_start") is True)

        async with sequence.turn:
            if sequence.broken:
                raise UsageError(f"The sequence {name} lost a request.", "Start it again.")
            # Until the end of the request nobody knows which segments the ring holds.
            sequence.broken = True
            decided = await sequence.add(segments)
            events: list[Event] = []
            if request.parameters.get("sequence_end") is True:
                decided += await sequence.pad()
                events = sequence.decider.flush(time.time())
                if self._sequences.get(name) is sequence:
                    del self._sequences[name]
            sequence.broken = False
            sequence.used_at = self._clock()
        return self._outputs(decided, events)

    def sweep(self) -> None:
        """Forget sequences that were not used for `idle_s`; a client may have vanished."""
        now = self._clock()
        for name, sequence in list(self._sequences.items()):
            if now - sequence.used_at > self._idle_s and not sequence.turn.locked():
                del self._sequences[name]

    def counts(self) -> dict[str, int]:
        """Return the number of sequences."""
        return {"sequences": len(self._sequences)}

    def _find(self, name: str, *, start: bool) -> _Sequence:
        """Return the state of a sequence; a start replaces what was there."""
        if not start:
            sequence = self._sequences.get(name)
            if sequence is None:
                raise UsageError(
                    f"The sequence {name} was never started, has ended, or was idle for more than "
                    f"{self._idle_s:g} s.",
                    "Send its first segments with sequence_start.",
                )
            return sequence

        self.sweep()
        if name not in self._sequences and len(self._sequences) >= self._max_sequences:
            raise BusyError(f"There are {self._max_sequences} sequences already.")
        sequence = _Sequence(name, self._engines, self._labels, self._config)
        sequence.used_at = self._clock()
        self._sequences[name] = sequence
        return sequence

    def _outputs(
        self, decided: list[tuple[NDArray[Any], list[Any]]], events: list[Event]
    ) -> dict[str, NDArray[Any]]:
        """Return decisions and events as the outputs of the model."""
        decisions: list[Decision] = []
        all_events: list[Event] = []
        for _, records in decided:
            decisions += [record for record in records if isinstance(record, Decision)]
            all_events += [record for record in records if isinstance(record, Event)]
        all_events += events

        classes = self.outputs["logits"].shape[1]
        logits = [row for row, _ in decided]
        texts = [json.dumps(event.to_json()) for event in all_events]
        return {
            "logits": np.array(logits, np.float32).reshape(-1, classes),
            "time_s": np.array([one.time_s for one in decisions], np.float64),
            "label_id": np.array([one.label_id for one in decisions], np.int64),
            "label": np.array([one.label for one in decisions], object),
            "p": np.array([one.p for one in decisions], np.float64),
            "events": np.array(texts, object),
        }


def _sequence_id(value: object) -> str:
    """Return the id of a sequence as text; clients send numbers or texts.

    Raises:
        UsageError: there is none, or it is of another type.
    """
    is_number = type(value) is int and value != 0
    if not is_number and not (isinstance(value, str) and 0 < len(value) <= _LONGEST_ID):
        raise UsageError(
            "The request has no sequence_id: a number other than 0, or a text of at most "
            f"{_LONGEST_ID} characters."
        )
    return str(value)
