"""Cost of one decision: the complete graph per window, or cached segments with encoder and head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gasmcast.runtime.bench.task import TURN_S, Task, Turn
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines.random_feeds import random_feeds
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import Model, open_model
from gasmcast.stopwatch import alternate_ms
from gasmcast.video.noise import noise_pixels

__all__ = ["prepare_cached", "prepare_complete"]


def prepare_complete(task: Task) -> Turn:
    """Prepare the complete graph, which recomputes the whole window for every decision.

    A turn returns `ms` and `ms_cpu` (lists) and `engine`.
    """
    bundle = Bundle.open(task.bundle, verify=False)
    engine = bundle.engine("complete", task.precision, task.engine, task.threads)
    clip = noise_pixels((1, *bundle.manifest.spec.clip_shape))
    # Kernels are chosen and memory is allocated in the first run.
    engine.run({"clip": clip})
    return lambda: {
        **alternate_ms({"ms": lambda: engine.run({"clip": clip})}, TURN_S),
        "engine": engine.describe(),
    }


def prepare_cached(task: Task) -> Turn:
    """Prepare one segment and one window of each camera, for every count in `task.batches`.

    A turn returns `encode_<cameras>` and `fuse_<cameras>` (lists, ms), each with `_cpu`, and
    `engine`.
    """
    model, line = open_model(
        Path(task.bundle), task.engine, task.precision, task.threads, verify=False
    )
    work: dict[str, Callable[[], object]] = {}
    for cameras in task.batches:
        work[f"encode_{cameras}"] = _encode(model, cameras)
        work[f"fuse_{cameras}"] = _fuse(model, cameras)

    # Kernels are chosen and memory is allocated in the first run.
    for step in work.values():
        step()
    return lambda: {**alternate_ms(work, TURN_S), "engine": line}


def _encode(model: Model, cameras: int) -> Callable[[], object]:
    pairs = [noise_pixels((size, *model.spec.pair_shape)) for size in _batch_sizes(cameras)]
    return lambda: [model.encode(batch) for batch in pairs]


def _fuse(model: Model, cameras: int) -> Callable[[], object]:
    sizes = _batch_sizes(cameras)
    window = model.device_window(noise_pixels((1, *model.spec.pair_shape)))
    if window is not None:
        on_device = [[window] * size for size in sizes]
        return lambda: [model.fuse(batch) for batch in on_device]

    feeds = [random_feeds(model.head.inputs, batch=size) for size in sizes]
    return lambda: [model.head.run(batch) for batch in feeds]


def _batch_sizes(cameras: int) -> list[int]:
    """Return the batches into which the pipeline divides segments that are ready at once."""
    largest = LiveConfig().batch
    return [min(largest, cameras - start) for start in range(0, cameras, largest)]
