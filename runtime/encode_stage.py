"""Encoder stage as plain steps that a thread (or a test) calls.

It takes what is ready from the backlogs of all cameras and runs the encoder on it in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gasmcast.runtime.camera.backlog import Mark, PendingItem
from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.camera.lane import Lane, LaneItem
from gasmcast.runtime.camera.ring import Features
from gasmcast.runtime.context import RuntimeContext
from gasmcast.runtime.governor import Governor
from gasmcast.runtime.streaming_model import Model

__all__ = ["EncodedBatch", "EncodedItem", "encode", "pick"]


class EncodedItem(NamedTuple):
    """Segment or mark that has passed the encoder stage."""

    lane: Lane
    pending: PendingItem
    features: Features | None
    """Features of a segment; None for a still segment and for a mark."""


@dataclass(frozen=True)
class EncodedBatch:
    """Items of several lanes in order, as the encoder stage hands them to the head stage."""

    items: list[EncodedItem]
    started: float
    """Monotonic seconds at which the encoder stage took the items."""
    encoded: float
    """Monotonic seconds at which it had encoded them."""


def pick(lanes: list[Lane], room: int) -> list[LaneItem]:
    """Take what is ready: all marks, and at most one segment per camera.

    Live cameras come before files, and among them the longest waiting segment first.

    Args:
        lanes: all lanes; the caller holds the context's lock.
        room: segments of the batch.
    """
    # One segment per camera: a camera with a long backlog must not take the batch alone.
    picked: list[LaneItem] = []
    ready = [lane for lane in lanes if lane.pending]
    for lane in sorted(ready, key=lambda lane: (not lane.live, lane.pending[0].offered)):
        # Marks need no engine, so they take no room of the batch.
        while lane.pending and isinstance(lane.pending[0].item, Mark):
            picked.append(LaneItem(lane, lane.pending.popleft()))
        if lane.pending and room:
            picked.append(LaneItem(lane, lane.pending.popleft()))
            room -= 1
    return picked


def encode(
    model: Model, context: RuntimeContext, governor: Governor, picked: list[LaneItem]
) -> EncodedBatch:
    """Run the encoder on the segments among `picked` that are not still, in one batch."""
    started = context.clock()
    moving: dict[int, Segment] = {}
    for position, (lane, pending) in enumerate(picked):
        if isinstance(pending.item, Segment):
            # The governor turns the filter on for live cameras only: files are never degraded.
            config = lane.config
            threshold = governor.still_threshold(config) if lane.live else config.still_filter
            if not lane.still_filter.is_still(pending.item, threshold, lane.decider.active):
                moving[position] = pending.item

    # Marks and still segments pass on without features, to keep their place in the order.
    features: dict[int, Features] = {}
    if moving:
        with governor.load.working("encode"):
            features = _run_encoder(model, moving)
    items = []
    for position, (lane, pending) in enumerate(picked):
        items.append(EncodedItem(lane, pending, features.get(position)))
    return EncodedBatch(items, started, context.clock())


def _run_encoder(model: Model, segments: dict[int, Segment]) -> dict[int, Features]:
    """Return the features of segments, by the same keys."""
    pairs = [segment.pair for segment in segments.values()]
    # A single pair is only viewed as a batch; stacking would copy it.
    batch = pairs[0][None] if len(pairs) == 1 else np.stack(pairs)  # (B, 2, F, H, W, 3)
    return dict(zip(segments, model.encode(batch), strict=True))
