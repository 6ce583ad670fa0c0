"""Run clips through encoder and head in the way the runtime does: segment by segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.progress import Progress, silent
from gasmcast.runtime.engines import Engine, join_batches

__all__ = [
    "Feeds",
    "RunGraph",
    "encode_clip",
    "pair_chunks",
    "run_complete",
    "run_head",
    "run_streaming",
]

Feeds = Mapping[str, NDArray[Any]]
"""Tensors by name."""
RunGraph = Callable[[Feeds], dict[str, NDArray[Any]]]
"""One run of a graph: inputs by name to outputs by name."""
CHUNK_PIXELS = 8 * 2 * 16 * 112 * 112
"""Largest number of pixels in a chunk, both segments of a pair counted."""


def pair_chunks(
    clip: NDArray[np.uint8], segments: Sequence[int] | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Yield the (previous, current) pairs of a clip in order, in chunks `(n, 2, F, H, W, 3)`.

    A chunk is one pair at 224 px, and all pairs of a clip with small frames.

    Args:
        clip: `(1 + S, F, H, W, 3)`.
        segments: indices of the segments to yield, ascending; all if None.
    """
    chosen = np.arange(len(clip) - 1) if segments is None else np.asarray(segments)

    # At least one pair: a single one may exceed the limit.
    size = max(1, CHUNK_PIXELS // int(np.prod(clip.shape[1:4])) // 2)

    for start in range(0, len(chosen), size):
        current = chosen[start : start + size]
        yield np.stack([clip[current], clip[current + 1]], axis=1)  # (n, 2, F, H, W, 3)


def encode_clip(encode: RunGraph, clip: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Return the features of one clip: `semantic (1, S, L, f, P, D)`, `motion (1, S, L, C, D)`.

    A pair that equals its predecessor is not run again: a video shorter than the window repeats its
    last frame.

    Args:
        encode: one run of the encoder.
        clip: `(1 + S, F, H, W, 3)`.
    """
    segments = range(len(clip) - 1)
    distinct = [
        i for i in segments if i == 0 or not np.array_equal(clip[i : i + 2], clip[i - 1 : i + 1])
    ]
    outputs = [encode({"segments": pairs}) for pairs in pair_chunks(clip, distinct)]

    # Each segment takes the features of the last distinct pair up to it.
    source = np.searchsorted(distinct, segments, side="right") - 1
    rows = join_batches(outputs)  # (distinct, ...)
    return {name: values[source][None] for name, values in rows.items()}  # (1, S, ...)


def run_streaming(
    encoder: Engine,
    head: Engine,
    clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    *,
    progress: Progress = silent,
    stage: str = "",
    on_features: Callable[[int, dict[str, NDArray[np.float32]]], None] | None = None,
) -> NDArray[np.float32]:
    """Return logits `(N, classes)` of clips, computed by encoder and head as in the runtime.

    Args:
        encoder: encodes pairs of segments.
        head: classifies a window of encoded segments.
        clips: N clips `(1 + S, F, H, W, 3)`.
        progress: called after each clip.
        stage: name of the stage for `progress`.
        on_features: called with each clip's index and features.
    """
    rows: list[Any] = []
    for i, clip in enumerate(clips):
        features = encode_clip(encoder.run, clip)
        if on_features is not None:
            on_features(i, features)

        # Features are dropped after each clip, because a set of them fills gigabytes.
        rows.append(head.run(features)["logits"][0])
        progress(stage, i + 1, len(clips))
    return np.asarray(rows, np.float32)


def run_head(head: Engine, windows: Iterable[Feeds]) -> NDArray[np.float32]:
    """Return logits `(N, classes)` of N windows of encoded segments, run one by one.

    Args:
        head: classifies a window.
        windows: features as `encode_clip` returns them.
    """
    return np.concatenate([head.run(window)["logits"] for window in windows])


def run_complete(
    engine: Engine, clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return logits `(N, classes)` of clips, computed by a graph that sees the whole clip.

    Args:
        engine: the complete graph.
        clips: N clips `(1 + S, F, H, W, 3)`, run one by one.
    """
    rows = [engine.run({"clip": np.ascontiguousarray(clip[None])})["logits"] for clip in clips]
    return np.concatenate(rows)
