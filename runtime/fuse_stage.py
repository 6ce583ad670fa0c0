"""Head stage as plain steps that a thread (or a test) calls.

It puts encoded segments into the feature rings, runs the head on the windows that are due in one
batch, and decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.camera.backlog import Mark, PendingItem
from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.camera.lane import Lane
from gasmcast.runtime.camera.latency import Latencies
from gasmcast.runtime.camera.ring import Features, Window
from gasmcast.runtime.context import RuntimeContext
from gasmcast.runtime.encode_stage import EncodedBatch
from gasmcast.runtime.governor import Governor
from gasmcast.runtime.streaming_model import Model

__all__ = ["close", "fuse"]


class DueWindow(NamedTuple):
    """Complete window that the head has to run on, and the segment that ends it."""

    lane: Lane
    pending: PendingItem
    segment: Segment
    features: Window
    machine_since: float
    """Monotonic seconds since when only the machine delays the decision."""


def fuse(
    model: Model,
    context: RuntimeContext,
    governor: Governor,
    latencies: Latencies,
    batch: EncodedBatch,
    *,
    is_current: Callable[[], bool] = lambda: True,
) -> None:
    """Put encoded segments into their rings, run the head on the due windows, and decide.

    Args:
        model: its head runs.
        context: state that all lanes share.
        governor: decides how often windows are due.
        latencies: takes the latencies of this batch.
        batch: output of `encode`.
        is_current: whether the calling thread still runs the stage. A thread that was replaced
            while its head hung must not decide any more.
    """
    started = context.clock()
    windows = due_windows(context, governor, batch)
    if not windows:
        return

    # The latencies end here: emitting records does not count as computing.
    with governor.load.working("fuse"):
        logits = model.fuse([window.features for window in windows])
    done = context.clock()
    for row, window in zip(logits, windows, strict=True):
        if not is_current():
            return
        latency_ms = {
            "sample": _ms(window.pending.offered - window.segment.arrival),
            "wait": _ms(batch.started - window.pending.offered),
            "encode": _ms(batch.encoded - batch.started),
            "queue": _ms(started - batch.encoded),
            "fuse": _ms(done - started),
            "total": _ms(done - window.segment.arrival),
        }
        latencies.add(latency_ms)

        # Only what the machine adds: a slow camera waits for its next frame, and that is no load.
        window.lane.latencies.add({"machine": _ms(done - window.machine_since)})
        record_decision(context, window, row, latency_ms)


def due_windows(
    context: RuntimeContext, governor: Governor, batch: EncodedBatch
) -> list[DueWindow]:
    """Put the segments of a batch into their rings; return the complete windows that are due.

    Gaps and ends are handled on the way, in their order among the segments.
    """
    spec = context.spec
    windows = []
    for lane, pending, encoded in batch.items:
        segment = pending.item
        if isinstance(segment, Mark):
            close(context, lane, segment)
            continue

        since = lane.machine_since(segment, context.clock())
        features = _advance(context, lane, segment, encoded)
        hop = governor.hop(lane.config) if lane.live else lane.config.hop
        if features is not None and _is_due(lane, segment, hop):
            windows.append(DueWindow(lane, pending, segment, features, since))
            continue

        # No decision will follow for this segment, so its frames need not wait for one.
        if features is None and segment.index + 1 >= spec.segments:
            lane.drop("hole", segment)
        lane.preview.release(segment.end_s + spec.segment_s)
    return windows


def record_decision(
    context: RuntimeContext,
    window: DueWindow,
    logits: NDArray[np.float32],
    latency_ms: dict[str, float],
) -> None:
    """Decide a window from its logits `(classes,)`, emit the records, and release its frames."""
    lane, segment = window.lane, window.segment
    if np.isfinite(logits).all():
        _decide(context, lane, segment, logits, latency_ms)
        if context.on_window is not None:
            context.on_window(lane.name, segment, window.features)
    else:
        # One such row in the moving average would spoil all later decisions.
        lane.drop("not_finite", segment)

    # Views may now draw this decision on the frames of the next segment.
    lane.preview.release(segment.end_s + context.spec.segment_s)


def close(context: RuntimeContext, lane: Lane, mark: Mark) -> None:
    """End the open event of a lane at a gap or at the end of its source."""
    wall_s = context.wall()
    lane.ring.clear()
    lane.still_filter.reset()
    if context.trace:
        fields = {"camera": lane.name, "what": mark.what, "text": mark.text, "wall_s": wall_s}
        context.trace("mark", fields)

    # Sinks see the end of the event before the notice that explains it.
    for event in lane.decider.flush(wall_s):
        context.emit(event)
    if mark.what == "gap":
        lane.notify("gap", f"{lane.name}: frames are missing ({mark.text}); the window restarts.")
    else:
        lane.finish(mark)


def _advance(
    context: RuntimeContext, lane: Lane, segment: Segment, features: Features | None
) -> Window | None:
    """Put a segment into its ring; return the window that it completes, if any."""
    lane.segments += 1
    if context.trace:
        fields = _position(lane, segment) | {
            "end_s": segment.end_s,
            "stamps": segment.stamps,
            "encoded": features is not None,
        }
        context.trace("segment", fields)

    if features is not None:
        lane.ring.append(segment.run, segment.index, features)
    elif lane.ring.repeat(segment.run, segment.index):
        lane.drop("still", segment)
    else:
        # The features that this still segment would reuse were lost: encode the next one.
        lane.still_filter.reset()
        return None
    return lane.ring.window()


def _is_due(lane: Lane, segment: Segment, hop: int) -> bool:
    """Return whether to decide a window: the first one after a hole, then every `hop`-th."""
    if (lane.ring.unbroken - lane.ring.segments) % hop == 0:
        return True
    lane.drop("hop", segment)
    return False


def _decide(
    context: RuntimeContext,
    lane: Lane,
    segment: Segment,
    logits: NDArray[np.float32],
    latency_ms: dict[str, float],
) -> None:
    """Emit the decision of a window and its events."""
    wall_s = context.wall()
    span_s = (round(segment.end_s - context.spec.window_s, 6), round(segment.end_s, 6))
    if context.trace:
        fields = _position(lane, segment) | {
            "window": span_s,
            "wall_s": wall_s,
            "latency_ms": latency_ms,
            "logits": logits.tolist(),
        }
        context.trace("window", fields)

    lane.decisions += 1
    lane.latencies.add({"total": latency_ms["total"]})
    for record in lane.decider.update(span_s, logits, wall_s, latency_ms):
        context.emit(record)
        warning = lane.rate.add(record) if lane.rate else ""
        if warning:
            lane.notify("alarm_rate", warning)


def _position(lane: Lane, segment: Segment) -> dict[str, Any]:
    """Return what identifies a segment in a recording."""
    return {"camera": lane.name, "run": segment.run, "index": segment.index}


def _ms(seconds: float) -> float:
    return round(seconds * 1000.0, 3)
