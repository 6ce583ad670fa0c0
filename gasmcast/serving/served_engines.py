"""Engines of one bundle with a batcher each; all served models of the bundle share them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.engines import join_batches
from gasmcast.runtime.streaming_model import Model
from gasmcast.serving.batcher import Batcher, Feeds

__all__ = ["ServedEngines"]

Tensors = dict[str, NDArray[Any]]


class ServedEngines:
    """Encoder and head behind batchers.

    Args:
        model: engines and labels.
        max_batch: segments in one encoder batch, and windows in one head batch.
        delay_s: how long a segment or window waits for others.
        name: name of the bundle, for threads.
    """

    def __init__(self, model: Model, *, max_batch: int, delay_s: float, name: str) -> None:
        self.model = model
        self.batchers: dict[str, Batcher] = {}
        engines = {"encoder": model.encoder, "head": model.head}
        for stage, engine in engines.items():
            self.batchers[stage] = Batcher(
                _runner(engine.run), max_rows=max_batch, delay_s=delay_s, name=f"{name}-{stage}"
            )

    async def encode(self, clip: NDArray[np.uint8]) -> Tensors:
        """Encode consecutive segments.

        Args:
            clip: `(1 + n, F, H, W, 3)`: a predecessor and n segments.

        Returns:
            Features of the n segments by name, `(n, ...)`.
        """
        encoder = self.batchers["encoder"]
        futures = []
        for start in range(0, len(clip) - 1, encoder.max_rows):
            stop = min(start + encoder.max_rows, len(clip) - 1)
            pairs = np.stack([clip[index : index + 2] for index in range(start, stop)])
            futures.append(encoder.submit({"segments": pairs}))  # (n, 2, F, H, W, 3)
        return join_batches(await _all(futures))

    async def fuse(self, features: Tensors) -> NDArray[np.float32]:
        """Return the logits `(B, classes)` of windows of features, `(B, S, ...)` by name."""
        head = self.batchers["head"]
        rows = len(next(iter(features.values())))
        futures = []
        for start in range(0, rows, head.max_rows):
            part = {k: value[start : start + head.max_rows] for k, value in features.items()}
            futures.append(head.submit(part))
        logits: NDArray[np.float32] = join_batches(await _all(futures))["logits"]
        return logits

    def close(self) -> None:
        """Finish what waits and end the threads."""
        for batcher in self.batchers.values():
            batcher.close()


def _runner(
    run: Callable[[Feeds], dict[str, NDArray[np.float32]]],
) -> Callable[[Feeds], Tensors]:
    """Return an engine's `run` with contiguous inputs, which some backends need."""

    def contiguous(feeds: Feeds) -> Tensors:
        return dict(run({name: np.ascontiguousarray(value) for name, value in feeds.items()}))

    return contiguous


async def _all(futures: list[Any]) -> list[Tensors]:
    return list(await asyncio.gather(*(asyncio.wrap_future(future) for future in futures)))
