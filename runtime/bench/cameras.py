"""Synthetic cameras through the whole pipeline: whether they are served in real time, latency by stage, memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.bench.process import Task, noise, rss_mb
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.streaming_model import Model, open_model

__all__ = ["prepare"]


def prepare(task: Task) -> Callable[[], dict[str, Any]]:
    """Compile the engines and run each batch that may come, so that kernels are chosen and memory is taken."""
    model, _ = open_model(
        Path(task.bundle), task.engine, task.precision, task.threads, verify=False
    )
    for batch in range(1, min(task.cameras, LiveConfig().batch) + 1):
        encoded = model.encoder.run({"segments": noise((batch, *model.spec.pair_shape))})
        model.head.run(
            {
                name: np.repeat(value[:, None], model.spec.segments, axis=1)
                for name, value in encoded.items()
            }
        )
    return lambda: _serve(model, task)


def _serve(model: Model, task: Task) -> dict[str, Any]:
    """Nothing gives way: what is late is dropped and counted."""
    spec = model.spec
    pipeline = Pipeline(
        model, LiveConfig(degrade=False, stats_s=3600.0, gap_s=60.0), lambda _: None
    )
    pipeline.start()
    stop = threading.Event()
    threads = []
    for number in range(task.cameras):
        lane = pipeline.add(f"camera{number}", live=True)
        offset_s = number * task.slower * spec.segment_s / task.cameras  # cameras are not in step
        threads.append(
            threading.Thread(
                target=_play,
                args=(lane.on_frame, max(spec.fps, 15.0), task.slower, offset_s, stop),
                daemon=True,
            )
        )
    for thread in threads:
        thread.start()
    stop.wait(
        task.slower * (spec.window_s + 2 * spec.segment_s)
    )  # until every camera has told its first decision
    before = {name: (lane.drops["late"], lane.decisions) for name, lane in pipeline.lanes.items()}
    pipeline.stats()
    stop.wait(task.slower * task.seconds)
    stats, rss = pipeline.stats(), rss_mb()
    late = sum(lane.drops["late"] - before[name][0] for name, lane in pipeline.lanes.items())
    decisions = [lane.decisions - before[name][1] for name, lane in pipeline.lanes.items()]
    stop.set()
    for thread in threads:
        thread.join(2.0)
    pipeline.stop()
    due = task.seconds / spec.segment_s
    return {
        "late": late,
        "decisions": sum(decisions),
        "kept_up": late == 0 and min(decisions) >= due - 2,
        "latency_ms": stats.stages_ms,
        "busy": stats.busy,
        "rss_mb": rss,
    }


def _play(
    take: Callable[[Frame], None], fps: float, slower: float, offset_s: float, stop: threading.Event
) -> None:
    """A camera of 320 x 240 that moves, on time, or at a slower time of its own."""
    frames = list(_frames())
    start = time.monotonic() + offset_s
    count = 0
    while not stop.is_set():
        wait = start + slower * count / fps - time.monotonic()
        if wait > 0:
            stop.wait(wait)
        take(Frame(count / fps, time.monotonic(), frames[count % len(frames)]))
        count += 1


def _frames() -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    ground = cv2.resize(
        rng.integers(0, 256, (12, 16, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC
    )
    for step in range(16):
        yield np.roll(ground, 9 * step, axis=1)
