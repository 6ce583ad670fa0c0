"""Synthetic cameras through the whole pipeline: do they run in real time, latency, memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.bench.task import Task, Turn, rss_mb
from gasmcast.runtime.capacity import Capacity, fit
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.streaming_model import Model, open_model
from gasmcast.spec import ClipSpec
from gasmcast.video.noise import noise_pixels

__all__ = ["prepare_cameras"]


def prepare_cameras(task: Task) -> Turn:
    """Compile the engines and run every batch size once, so that a turn measures steady state.

    A turn returns `late` (dropped segments), `decisions`, `kept_up`, `latency_ms` by stage, `busy`
    (share of the time in which an engine computes) and `rss_mb`.
    """
    opened = open_model(Path(task.bundle), task.engine, task.precision, task.threads, verify=False)
    # As in `gasmcast live`: engines for the number of cameras, and a batch only where it pays.
    model, _, capacity = fit(opened, LiveConfig(), task.cameras)
    # The first run of a batch size chooses kernels and allocates memory.
    largest = max(LiveConfig().batch, model.rows_at_once)
    for batch in range(1, min(task.cameras, largest) + 1):
        encoded = model.encoder.run({"segments": noise_pixels((batch, *model.spec.pair_shape))})
        window = {
            name: np.repeat(value[:, None], model.spec.segments, axis=1)  # (B, S, ...)
            for name, value in encoded.items()
        }
        model.head.run(window)
    return lambda: _serve(model, task, capacity)


def _serve(model: Model, task: Task, capacity: Capacity) -> dict[str, Any]:
    """Run the cameras through a pipeline; overload drops segments, it never degrades service."""
    spec = model.spec
    config = LiveConfig(degrade=False, stats_s=3600.0, gap_s=60.0)
    pipeline = Pipeline(model, config, lambda _: None, capacity=capacity)
    pipeline.start()
    stop = threading.Event()
    threads = _start_cameras(pipeline, spec, task, stop)

    # Measure only after every camera has made its first decision.
    stop.wait(task.slowdown * (spec.window_s + 2 * spec.segment_s))
    late_before = {name: lane.drops["late"] for name, lane in pipeline.lanes.items()}
    decisions_before = {name: lane.decisions for name, lane in pipeline.lanes.items()}
    pipeline.stats()  # starts a new interval for `busy` and latencies
    stop.wait(task.slowdown * task.seconds)

    # Read the figures before the cameras stop, or the drain would count too.
    stats, rss = pipeline.stats(), rss_mb()
    late = 0
    decisions = []
    for name, lane in pipeline.lanes.items():
        late += lane.drops["late"] - late_before[name]
        decisions.append(lane.decisions - decisions_before[name])

    stop.set()
    for thread in threads:
        thread.join(2.0)
    pipeline.stop()

    # A window boundary at either end of the interval costs up to one decision.
    due = task.seconds / spec.segment_s
    return {
        "late": late,
        "decisions": sum(decisions),
        "kept_up": late == 0 and min(decisions) >= due - 2,
        "latency_ms": stats.stages_ms,
        "busy": stats.busy,
        "rss_mb": rss,
    }


def _start_cameras(
    pipeline: Pipeline, spec: ClipSpec, task: Task, stop: threading.Event
) -> list[threading.Thread]:
    threads = []
    for number in range(task.cameras):
        lane = pipeline.add(f"camera{number}", live=True)
        # Real cameras are not in step: spread them over one segment.
        offset_s = number * task.slowdown * spec.segment_s / task.cameras

        thread = threading.Thread(
            target=_play,
            args=(lane.on_frame, max(spec.fps, 15.0), task.slowdown, offset_s, stop),
            daemon=True,
        )
        threads.append(thread)

    for thread in threads:
        thread.start()
    return threads


def _play(
    deliver: Callable[[Frame], None],
    fps: float,
    slowdown: float,
    offset_s: float,
    stop: threading.Event,
) -> None:
    """Deliver frames of 320 x 240 pixels at `fps / slowdown` until `stop` is set."""
    images = _moving_images()
    start = time.monotonic() + offset_s
    count = 0
    while not stop.is_set():
        wait = start + slowdown * count / fps - time.monotonic()
        if wait > 0:
            stop.wait(wait)
        # Stamps are in camera time, which runs slower than the clock by `slowdown`.
        deliver(Frame(count / fps, time.monotonic(), images[count % len(images)]))
        count += 1


def _moving_images() -> list[NDArray[np.uint8]]:
    """Return 16 images `(240, 320, 3)` of a texture that moves 9 pixels per frame."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    texture = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)

    return [np.roll(texture, 9 * step, axis=1) for step in range(16)]
