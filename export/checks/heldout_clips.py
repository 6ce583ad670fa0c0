"""Clips that judge an export: decoded once into a file on disk, then run through every engine the way the runtime runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gasmcast.calibration.clip_store import CalibrationSet
from gasmcast.data.annotations import Sample, read_labels, read_split
from gasmcast.errors import SourceError, UsageError
from gasmcast.labels import Labels
from gasmcast.runtime.engines import Engine
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import duration_s

__all__ = [
    "Clips",
    "Run",
    "encode_clip",
    "held_out_clips",
    "made_up_clips",
    "pair_chunks",
    "run_streaming",
    "stored_clips",
]

Origin = Literal["validation", "calibration", "made up"]
Each = Callable[[int, int], None]
Run = Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]
"""One run of a graph: tensors by name in and out."""


@dataclass(frozen=True)
class Clips:
    """Clips in a memory map, so that hundreds of them cost no memory."""

    pixels: NDArray[np.uint8]
    """`(N, 1 + S, F, H, W, 3)`."""
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | None
    """None where the set's classes are not the model's."""
    origin: Origin
    unread: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, count: int) -> Clips:
        """The first few."""
        labels = None if self.labels is None else self.labels[:count]
        return Clips(self.pixels[:count], self.ids[:count], labels, self.origin, self.unread)


def held_out_clips(
    data: Path,
    spec: ClipSpec,
    labels: Labels,
    folder: Path,
    *,
    count: int,
    seed: int = 0,
    each: Each | None = None,
) -> Clips:
    """Validation clips, drawn with a seed: one window each, where evaluation takes it.

    Args:
        data: a set in Something-Something-V2's format.
        spec: the sampling contract.
        labels: the model's classes; where the set has others, clips come without labels and only agreement can be judged.
        folder: where the memory map goes.
        count: at most so many.
        seed: of the draw.
        each: called with clips read and all.

    Raises:
        UsageError: the split is missing or none of its clips can be read.
    """
    samples = [
        s for s in read_split(data, "validation") if s.path is not None and s.label is not None
    ]
    order = np.random.default_rng(seed).permutation(len(samples))[:count]
    chosen = [samples[i] for i in sorted(order)]
    pixels = _map(folder / "held-out.u8", len(chosen), spec)
    kept: list[Sample] = []
    unread = []
    for i, sample in enumerate(chosen, start=1):
        assert sample.path is not None
        try:
            pixels[len(kept)] = read_clip(
                sample.path, spec, spec.centered_start(duration_s(sample.path))
            )
            kept.append(sample)
        except SourceError:
            unread.append(sample.id)
        if each is not None:
            each(i, len(chosen))
    if not kept:
        raise UsageError(
            f"None of the validation clips of {data} can be read.",
            "Check the videos, and `gasmcast doctor`.",
        )
    same = read_labels(data) == labels
    classes = np.asarray([s.label for s in kept], np.int64) if same else None
    return Clips(
        pixels[: len(kept)], tuple(s.id for s in kept), classes, "validation", tuple(unread)
    )


def stored_clips(stored: CalibrationSet, folder: Path, count: int) -> Clips:
    """The first clips of a calibration set: good for parity, not for judging accuracy."""
    count = min(count, len(stored))
    pixels = _map(folder / "stored.u8", count, stored.index.spec)
    for i, clip in zip(range(count), stored.clips(), strict=False):
        pixels[i] = clip
    return Clips(pixels, tuple(e.id for e in stored.index.clips[:count]), None, "calibration")


def made_up_clips(spec: ClipSpec, folder: Path, count: int, seed: int = 0) -> Clips:
    """Moving gratings with noise, for parity where no data was given."""
    rng = np.random.default_rng(seed)
    pixels = _map(folder / "made-up.u8", count, spec)
    slots = np.arange((1 + spec.segments) * spec.motion_frames).reshape(
        1 + spec.segments, spec.motion_frames, 1, 1, 1
    )
    y, x = np.mgrid[0 : spec.pixels, 0 : spec.pixels]
    for i in range(count):
        fy, fx, speed = (*rng.uniform(0.02, 0.2, 2), rng.uniform(-0.8, 0.8))
        phase = rng.uniform(0, 6, 3)
        wave = 127 + 90 * np.sin((fy * y + fx * x)[None, None, :, :, None] + speed * slots + phase)
        pixels[i] = np.clip(wave + rng.normal(0, 12, wave.shape), 0, 255)
    return Clips(pixels, tuple(f"made-up-{i}" for i in range(count)), None, "made up")


def _map(path: Path, count: int, spec: ClipSpec) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "w+", shape=(max(count, 1), *spec.clip_shape))


def pair_chunks(
    clip: NDArray[np.uint8],
    of: Sequence[int] | None = None,
    most_pixels: int = 8 * 2 * 16 * 112 * 112,
) -> Iterator[NDArray[np.uint8]]:
    """The (previous, current) pairs of a clip in order, `(n, 2, F, H, W, 3)`: one at a time at 224 px, all at once when small.

    Args:
        clip: `(1 + S, F, H, W, 3)`.
        of: the segments whose pairs are wanted, ascending; None: all.
        most_pixels: of a chunk, frames of both segments counted.
    """
    chosen = np.arange(len(clip) - 1) if of is None else np.asarray(of)
    size = max(1, most_pixels // int(np.prod(clip.shape[1:4])) // 2)
    for start in range(0, len(chosen), size):
        segments = chosen[start : start + size]
        yield np.stack([clip[segments], clip[segments + 1]], axis=1)


def encode_clip(encode: Run, clip: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The features of one clip with a batch axis: `semantic (1, S, L, f, P, D)`, `motion (1, S, L, C, D)`.

    A pair that equals the one before it is not run again: a video that is shorter than the window stands still at its end.
    """
    segments = range(len(clip) - 1)
    fresh = [
        i for i in segments if i == 0 or not np.array_equal(clip[i : i + 2], clip[i - 1 : i + 1])
    ]
    parts = [encode({"segments": pairs}) for pairs in pair_chunks(clip, fresh)]
    rows = np.searchsorted(fresh, segments, side="right") - 1
    return {name: np.concatenate([part[name] for part in parts])[rows][None] for name in parts[0]}


def run_streaming(
    encoder: Engine,
    head: Engine,
    clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    each: Each | None = None,
    keep: Callable[[int, dict[str, NDArray[np.float32]]], None] | None = None,
) -> NDArray[np.float32]:
    """Logits `(N, classes)` of clips, by encoder and head as the runtime uses them; `keep` is given each clip's index and features."""
    rows: list[Any] = []
    for i, clip in enumerate(clips, start=1):
        features = encode_clip(encoder.run, clip)
        if keep is not None:
            keep(i - 1, features)
        rows.append(head.run(features)["logits"][0])
        if each is not None:
            each(i, len(clips))
    return np.asarray(rows, np.float32)
