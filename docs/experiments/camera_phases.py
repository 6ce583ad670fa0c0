"""Latency of 1 to N cameras through the real pipeline, in step and spread over a segment.

The engines sleep instead of computing, one at a time, so that the result does not depend on what
else the machine does: a decision takes 150 ms, so three cameras with two decisions a second need
90 % of the time. Sources are `demo:` scenes, or addresses that are given.

    python docs/experiments/camera_phases.py [--seconds 40] [rtsp://host/stream ...]
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.labels import Labels
from gasmcast.runtime.camera.lane import Lane
from gasmcast.runtime.capacity import Capacity
from gasmcast.runtime.engines import TensorSpec
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Notice, Record
from gasmcast.runtime.session import Session
from gasmcast.runtime.sources.open_sources import open_sources
from gasmcast.runtime.streaming_model import Model
from gasmcast.spec import ClipSpec

ENCODE_S, FUSE_S = 0.135, 0.015
FRAME_S = 1 / 30
SPEC = ClipSpec(segments=4, segment_s=0.5, motion_frames=8, semantic_frames=2, pixels=32)
_device = threading.Lock()


class SleepingEngine:
    """Engine that occupies the one device for a fixed time per row of a batch."""

    def __init__(self, seconds: float, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._seconds, self._outputs = seconds, outputs
        self.inputs = {name: TensorSpec((None, 2), np.dtype("f4")) for name in inputs}
        self.outputs = {name: TensorSpec((None, 2), np.dtype("f4")) for name in outputs}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Occupy the device and return zeros."""
        rows = len(next(iter(feeds.values())))
        with _device:
            time.sleep(rows * self._seconds)
        return {name: np.zeros((rows, 2), np.float32) for name in self._outputs}

    def describe(self) -> str:
        """Return a name."""
        return "sleeping"


class Latencies:
    """Sink that keeps the latencies of decisions and what the governor reported."""

    def __init__(self) -> None:
        self.begin_s = float("inf")
        self.ms, self.notices = [], []

    def write(self, record: Record) -> None:
        """Keep the latency of a decision, or a notice of the governor."""
        if isinstance(record, Notice) and record.what == "degrade":
            self.notices.append(record.text)
        elif hasattr(record, "latency_ms") and time.monotonic() >= self.begin_s:
            self.ms.append(record.latency_ms["total"])

    def close(self, timeout_s: float = 1.0) -> None:
        """Nothing to close."""


def serve(addresses: list[str], seconds: float, *, spread: bool) -> str:
    """Run cameras and return a row of the table."""
    names = ("semantic", "motion")
    model = Model(
        SleepingEngine(ENCODE_S, ("segments",), names),
        SleepingEngine(FUSE_S, names, ("logits",)),
        SPEC,
        Labels(["a", "b"]),
    )
    sink = Latencies()
    # A batch of two takes twice as long here, as on a CPU; before, this was not measured.
    capacity = Capacity(ENCODE_S, FUSE_S, 2 * ENCODE_S if spread else None)
    session = Session(model, LiveConfig(), [sink], capacity=capacity)
    if not spread:
        session.pipeline.add = _without_spreading(session.pipeline.add)
    for number, address in enumerate(addresses):
        source = open_sources([address])[0][1]
        source.name = f"camera{number}"
        session.add(source)

    # The first windows fill before anything counts.
    sink.begin_s = time.monotonic() + SPEC.window_s + 3.0
    session.run(seconds + SPEC.window_s + 3.0)
    late = sum(lane.drops["late"] for lane in session.pipeline.lanes.values())
    p50, p95 = np.percentile(sink.ms, (50, 95)) if sink.ms else (np.nan, np.nan)
    due = int(2 * seconds * len(addresses))
    return (
        f"| {len(addresses)} | {'spread' if spread else 'as they connect'} | {p50:.0f} | {p95:.0f} "
        f"| {len(sink.ms)} of {due} | {late} | {session.pipeline.governor.level} |"
    )


def _without_spreading(add: Callable[..., Lane]) -> Callable[..., Lane]:
    def add_in_step(*args: Any, **more: Any) -> Lane:  # noqa: ANN401
        more.pop("free_phase", None)
        return add(*args, **more)

    return partial(add_in_step)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("addresses", nargs="*")
    parser.add_argument("--seconds", type=float, default=40.0)
    arguments = parser.parse_args()
    addresses = arguments.addresses or ["demo:", "demo:", "demo:"]

    print("| cameras | phases | p50 ms | p95 ms | decisions | late | level |")
    print("|---|---|---|---|---|---|---|")
    for count in range(1, len(addresses) + 1):
        for spread in (False, True):
            print(serve(addresses[:count], arguments.seconds, spread=spread), flush=True)
    bound = 1000 * (2 * (ENCODE_S + FUSE_S) + FRAME_S)
    print(f"bound of p95: {bound:.0f} ms")


if __name__ == "__main__":
    main()
