"""The two stages of computation, as plain steps that threads (or tests) call: encode segments, then fuse and decide windows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gasmcast.labels import Labels
from gasmcast.runtime.camera.backlog import Mark, Waiting
from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.camera.lane import Lane
from gasmcast.runtime.camera.latency import Latencies
from gasmcast.runtime.context import House
from gasmcast.runtime.engines import Engine
from gasmcast.runtime.governor import Capacity, Governor
from gasmcast.spec import ClipSpec

__all__ = ["Features", "Job", "Model", "close", "encode", "fastest_s", "fuse", "measure", "pick"]

Features = dict[str, NDArray[np.float32]]
"""An engine's."""


@dataclass(frozen=True)
class Model:
    """What the pipeline runs: the streaming pair of a bundle in one precision."""

    encoder: Engine
    head: Engine
    spec: ClipSpec
    labels: Labels
    temperature: float = 1.0
    no_action: float | None = None
    reopen: Callable[[], Model] | None = None
    """Compiles the engines again, for a stage that hangs in one."""


@dataclass(frozen=True)
class Job:
    """What the encoder hands to the head: items of several lanes in order; a segment with its features, None where it is still."""

    items: list[tuple[Lane, Waiting, Features | None]]
    started: float
    encoded: float


def pick(lanes: list[Lane], room: int) -> list[tuple[Lane, Waiting]]:
    """Take what is ready: marks, and at most one segment a camera, the longest waiting first, live before files, up to `room`."""
    picked: list[tuple[Lane, Waiting]] = []
    ready = [lane for lane in lanes if lane.pending]
    for lane in sorted(ready, key=lambda lane: (not lane.live, lane.pending[0].offered)):
        while lane.pending and isinstance(lane.pending[0].item, Mark):
            picked.append((lane, lane.pending.popleft()))
        if lane.pending and room:
            picked.append((lane, lane.pending.popleft()))
            room -= 1
    return picked


def encode(
    model: Model, house: House, governor: Governor, picked: list[tuple[Lane, Waiting]]
) -> Job:
    """Run the encoder on the segments among `picked` that are not still, in one batch."""
    started = house.clock()
    moving: dict[int, Segment] = {}
    for place, (lane, waiting) in enumerate(picked):
        if isinstance(waiting.item, Segment):
            threshold = governor.gate(lane.config) if lane.live else lane.config.motion_gate
            if not lane.gate.still(waiting.item, threshold, lane.decider.active):
                moving[place] = waiting.item
    features: dict[int, Features] = {}
    if moving:
        pairs = [segment.pair for segment in moving.values()]
        encoded = model.encoder.run(
            {"segments": pairs[0][None] if len(pairs) == 1 else np.stack(pairs)}
        )
        features = {
            place: {name: value[i] for name, value in encoded.items()}
            for i, place in enumerate(moving)
        }
    items = [(lane, waiting, features.get(place)) for place, (lane, waiting) in enumerate(picked)]
    return Job(items, started, house.clock())


def fuse(
    model: Model,
    house: House,
    governor: Governor,
    latencies: Latencies,
    job: Job,
    *,
    mine: Callable[[], bool] = lambda: True,
) -> None:
    """Put encoded segments into their rings, run the head on the windows that are due, decide and tell.

    Args:
        model: whose windows these are, and whose head runs.
        house: what all lanes share.
        governor: says which windows are due.
        latencies: of all cameras; takes those of this job.
        job: what the encoder handed on.
        mine: whether the calling thread still is the stage. One that was given up while the head ran decides nothing any more.
    """
    spec = model.spec
    due: list[tuple[Lane, Waiting, Segment, Features]] = []
    begun = house.clock()
    for lane, waiting, features in job.items:
        segment = waiting.item
        if isinstance(segment, Mark):
            close(house, lane, segment)
            continue
        window = _advance(house, lane, segment, features)
        if window is not None and _is_due(
            lane, segment, governor.hop(lane.config) if lane.live else lane.config.hop
        ):
            due.append((lane, waiting, segment, window))
            continue
        if window is None and segment.index + 1 >= spec.segments:
            lane.drop("hole", segment)
        lane.pictures.shown(segment.end_s + spec.segment_s)
    if not due:
        return
    feeds = (
        due[0][3]
        if len(due) == 1
        else {name: np.concatenate([d[3][name] for d in due]) for name in due[0][3]}
    )
    logits = model.head.run(feeds)["logits"]
    done = house.clock()
    for row, (lane, waiting, segment, _) in zip(logits, due, strict=True):
        if not mine():
            return
        latency_ms = {
            "sample": _ms(waiting.offered - segment.arrival),
            "wait": _ms(job.started - waiting.offered),
            "encode": _ms(job.encoded - job.started),
            "queue": _ms(begun - job.encoded),
            "fuse": _ms(done - begun),
            "total": _ms(done - segment.arrival),
        }
        latencies.add(latency_ms)
        _decide(house, lane, segment, row, latency_ms)
        lane.pictures.shown(segment.end_s + spec.segment_s)


def measure(model: Model, repeats: int = 3) -> Capacity:
    """What a segment and a window cost on this machine, alone; the first run of each engine is not counted."""
    shapes = {name: (1, *spec.shape[1:]) for name, spec in model.head.inputs.items()}
    window = {
        name: np.zeros([int(size or 1) for size in shape], np.float32)
        for name, shape in shapes.items()
    }
    pair = np.zeros((1, *model.spec.pair_shape), np.uint8)
    encode_s = fastest_s(lambda: model.encoder.run({"segments": pair}), repeats)
    return Capacity(encode_s, fastest_s(lambda: model.head.run(window), repeats))


def fastest_s(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of `repeats` runs, after one that does not count."""
    work()
    spans = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        spans.append(time.perf_counter() - begun)
    return min(spans)


def _advance(
    house: House, lane: Lane, segment: Segment, features: Features | None
) -> Features | None:
    """Put a segment into its ring; the window that it completes."""
    lane.segments += 1
    if house.trace:
        known = {
            "camera": lane.name,
            "run": segment.run,
            "index": segment.index,
            "end_s": segment.end_s,
        }
        house.trace("segment", {**known, "stamps": segment.stamps, "encoded": features is not None})
    if features is not None:
        lane.ring.append(segment.run, segment.index, features)
    elif lane.ring.repeat(segment.run, segment.index):
        lane.drop("gate", segment)
    else:
        lane.gate.forget()
        return None
    return lane.ring.window()


def _decide(
    house: House,
    lane: Lane,
    segment: Segment,
    row: NDArray[np.float32],
    latency_ms: dict[str, float],
) -> None:
    """Make a window's logits `(classes,)` a decision and tell it."""
    if not np.isfinite(
        row
    ).all():  # one such row in the moving average, and nothing after it could be told
        lane.drop("not_finite", segment)
        return
    wall_s, span = (
        house.wall(),
        (round(segment.end_s - house.spec.window_s, 6), round(segment.end_s, 6)),
    )
    if house.trace:
        known = {"camera": lane.name, "run": segment.run, "index": segment.index, "window": span}
        house.trace(
            "window", {**known, "wall_s": wall_s, "latency_ms": latency_ms, "logits": row.tolist()}
        )
    lane.decisions += 1
    lane.latencies.add({"total": latency_ms["total"]})
    for record in lane.decider.update(span, row, wall_s, latency_ms):
        house.emit(record)


def _is_due(lane: Lane, segment: Segment, hop: int) -> bool:
    """The first window after a hole is always decided, then every `hop`-th."""
    if (lane.ring.unbroken - lane.ring.segments) % hop == 0:
        return True
    lane.drop("hop", segment)
    return False


def close(house: House, lane: Lane, mark: Mark) -> None:
    """A gap or the end has been reached: what is open ends."""
    wall_s = house.wall()
    lane.ring.clear()
    lane.gate.forget()
    if house.trace:
        house.trace(
            "mark", {"camera": lane.name, "what": mark.what, "text": mark.text, "wall_s": wall_s}
        )
    for event in lane.decider.flush(wall_s):
        house.emit(event)
    if mark.what == "gap":
        lane.tell("gap", f"{lane.name}: frames are missing ({mark.text}); the window begins anew.")
    else:
        lane.finish(mark)


def _ms(seconds: float) -> float:
    return round(seconds * 1000.0, 3)
