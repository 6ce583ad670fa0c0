"""Clips that an export is checked on, decoded once into a memory map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gasmcast.calibration.clip_store import CalibrationSet
from gasmcast.data.annotations import Sample, read_labels, read_split
from gasmcast.data.clip_reader import clip_length_s, read_sample
from gasmcast.errors import SourceError, UsageError
from gasmcast.evaluation.out_of_fold import count_trained
from gasmcast.labels import Labels
from gasmcast.progress import Progress, silent
from gasmcast.spec import ClipSpec

__all__ = ["Clips", "background_clips", "held_out_clips", "made_up_clips", "stored_clips"]

ClipOrigin = Literal["validation", "training", "calibration", "made up", "background"]
_SEED = 0
"""Seed of the made-up clips."""


@dataclass(frozen=True)
class Clips:
    """Clips in a memory map, so that hundreds of them need no memory."""

    pixels: NDArray[np.uint8]
    """`(N, 1 + S, F, H, W, 3)`."""
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | None
    """Class of each clip; None if only agreement can be judged: the set's classes are not the
    model's, or the model was trained on the clips."""
    origin: ClipOrigin
    unread: tuple[str, ...] = ()
    """Identifiers of clips that could not be decoded."""

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, count: int) -> Clips:
        """Return the first `count` clips."""
        labels = None if self.labels is None else self.labels[:count]
        return replace(self, pixels=self.pixels[:count], ids=self.ids[:count], labels=labels)


def held_out_clips(
    data: Path,
    spec: ClipSpec,
    labels: Labels,
    folder: Path,
    *,
    run: Path | None = None,
    count: int,
    seed: int = 0,
    progress: Progress = silent,
) -> Clips:
    """Draw validation clips with a seed; one window each, at the position that evaluation uses.

    Args:
        data: data set in any format that `gasmcast.data` reads.
        spec: sampling contract.
        labels: the model's classes. If the set has others, the clips have no labels and only
            agreement can be judged.
        folder: folder of the memory map.
        run: run folder of the model. If it was trained on any of the clips, they are training
            clips without labels.
        count: largest number of clips.
        seed: seed of the draw.
        progress: called after each clip.

    Raises:
        UsageError: the split is missing or none of its clips can be read.
    """
    samples = [
        s for s in read_split(data, "validation") if s.path is not None and s.label is not None
    ]

    # Sorted, so that a report lists the clips in the order of the split.
    order = np.random.default_rng(seed).permutation(len(samples))[:count]
    chosen = [samples[i] for i in sorted(order)]

    file = folder / "held-out.u8"
    pixels, read, unread = _read(chosen, spec, file, "reading held-out clips", progress)
    if not read:
        raise UsageError(
            f"None of the validation clips of {data} can be read.",
            "Check the videos, and `gasmcast doctor`.",
        )

    # Indices of other classes would be counted as mistakes, and clips that were learned flatter.
    is_trained = run is not None and count_trained(run, read) > 0
    is_judge = read_labels(data) == labels and not is_trained
    return Clips(
        pixels=pixels,
        ids=tuple(s.id for s in read),
        labels=np.asarray([s.label for s in read], np.int64) if is_judge else None,
        origin="training" if is_trained else "validation",
        unread=tuple(unread),
    )


def background_clips(
    windows: Sequence[Sample], spec: ClipSpec, folder: Path, *, progress: Progress = silent
) -> Clips:
    """Read windows without an action; they have no labels.

    Args:
        windows: windows of `gasmcast.data.background_windows`.
        spec: sampling contract.
        folder: folder of the memory map.
        progress: called after each window.

    Raises:
        UsageError: there are none, or none can be read.
    """
    file = folder / "background.u8"
    pixels, read, unread = _read(windows, spec, file, "reading background", progress)
    if not read:
        raise UsageError(
            f"--background gives no window of {spec.window_s:g} s that can be read.",
            "Give longer videos.",
        )
    ids = tuple(sample.id for sample in read)
    return Clips(pixels, ids, labels=None, origin="background", unread=tuple(unread))


def stored_clips(stored: CalibrationSet, folder: Path, count: int) -> Clips:
    """Return the first clips of a calibration set: fit for parity, not for judging accuracy."""
    count = min(count, len(stored))
    pixels = _memory_map(folder / "stored.u8", count, stored.index.spec)
    for i, clip in zip(range(count), stored.clips(), strict=False):
        pixels[i] = clip

    ids = tuple(entry.id for entry in stored.index.clips[:count])
    return Clips(pixels, ids, labels=None, origin="calibration")


def made_up_clips(spec: ClipSpec, folder: Path, count: int) -> Clips:
    """Return moving gratings with noise, for parity checks without a data set."""
    rng = np.random.default_rng(_SEED)
    pixels = _memory_map(folder / "made-up.u8", count, spec)
    segments = 1 + spec.segments
    y, x = np.mgrid[0 : spec.pixels, 0 : spec.pixels]
    frame = np.arange(segments * spec.motion_frames)
    frame = frame.reshape(segments, spec.motion_frames, 1, 1, 1)  # (1 + S, F, 1, 1, 1)

    # Each clip has its own spatial frequency and speed, and each color its own phase.
    for i in range(count):
        fy, fx, speed = (*rng.uniform(0.02, 0.2, 2), rng.uniform(-0.8, 0.8))
        phase = rng.uniform(0, 6, 3)
        space = (fy * y + fx * x)[None, None, :, :, None]  # (1, 1, H, W, 1)
        wave = 127 + 90 * np.sin(space + speed * frame + phase)
        pixels[i] = np.clip(wave + rng.normal(0, 12, wave.shape), 0, 255)

    return Clips(pixels, tuple(f"made-up-{i}" for i in range(count)), None, "made up")


def _read(
    samples: Sequence[Sample], spec: ClipSpec, file: Path, stage: str, progress: Progress
) -> tuple[NDArray[np.uint8], list[Sample], list[str]]:
    """Return the centered windows of the clips that can be read, these clips, and other names."""
    # Rows of clips that cannot be read are overwritten by the next clip, and cut off at the end.
    pixels = _memory_map(file, len(samples), spec)
    read: list[Sample] = []
    unread = []
    for i, sample in enumerate(samples, start=1):
        try:
            start_s = spec.centered_start(clip_length_s(sample))
            pixels[len(read)] = read_sample(sample, spec, start_s)
            read.append(sample)
        except SourceError:
            unread.append(sample.id)
        progress(stage, i, len(samples))
    return pixels[: len(read)], read, unread


def _memory_map(path: Path, count: int, spec: ClipSpec) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "w+", shape=(max(count, 1), *spec.clip_shape))
