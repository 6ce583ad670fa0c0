"""Clips on their way through an encoder."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gasmcast.export.checks.run_clips import encode_clip, pair_chunks


def clip_of(*shades: int, side: int = 8) -> np.ndarray:
    """A clip `(1 + S, 2, side, side, 3)` of segments in one shade of gray each."""
    return np.stack([np.full((2, side, side, 3), shade, np.uint8) for shade in shades])


@pytest.mark.parametrize(("side", "chunks"), [(8, 1), (800, 4)])
def test_pairs_come_in_order_however_they_are_cut(side: int, chunks: int) -> None:
    parts = list(pair_chunks(clip_of(1, 2, 3, 4, 5, side=side)))
    assert len(parts) == chunks
    pairs = np.concatenate(parts)[:, :, 0, 0, 0, 0]
    assert pairs.tolist() == [[1, 2], [2, 3], [3, 4], [4, 5]]


@pytest.mark.parametrize(
    ("shades", "runs"),
    [
        ((1, 2, 3, 4), 3),
        ((1, 2, 2, 2, 2), 2),
        ((7, 7, 7), 1),
        ((1, 1, 1, 2, 2, 2), 3),
        ((1, 2, 1, 2, 1), 4),
    ],
)
def test_a_pair_that_stands_still_is_run_once(shades: tuple[int, ...], runs: int) -> None:
    seen: list[np.ndarray] = []

    def encode(feeds):
        seen.extend(feeds["segments"])
        means = feeds["segments"].astype(np.float32).mean((2, 3, 4, 5))
        return {"semantic": means, "motion": means.sum(1, keepdims=True)}

    features = encode_clip(encode, clip_of(*shades))
    assert len(seen) == runs
    assert features["semantic"].tolist() == [[list(pair) for pair in pairwise(shades)]]
    assert features["motion"].shape == (1, len(shades) - 1, 1)
