"""Inputs that encoder and head are calibrated on, taken from a calibration set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.calibration.clip_store import CalibrationSet
from gasmcast.errors import UsageError
from gasmcast.export.checks.run_clips import pair_chunks

__all__ = ["EncoderFeeds", "FeatureStore"]

HEAD_CLIPS = 8
"""Clips, spread over the set, that are encoded whole. The head's ranges come from their features,
22 MB on disk per clip at 224 px. Of every other clip the encoder sees one segment, because ranges
gain more from other clips than from similar segments."""

Feed = dict[str, NDArray[Any]]


class EncoderFeeds:
    """Segments that the encoder is calibrated on.

    Single segments of most clips come first, because the scan for outliers should see many clips;
    then a few clips whole.
    """

    def __init__(self, stored: CalibrationSet) -> None:
        self.stored = stored
        spec, count = stored.index.spec, len(stored)
        places = np.linspace(0, count - 1, min(count, HEAD_CLIPS)).round()
        self.whole = sorted({int(place) for place in places})
        self.single = [i for i in range(count) if i not in set(self.whole)]

        # Alternately an early and a late segment: the beginning and the end of an action.
        early = spec.segments // 4
        self.positions = early, spec.segments - 1 - early

        # Progress and the store need the number of runs in advance.
        chunks = sum(1 for _ in pair_chunks(np.empty(spec.clip_shape, np.uint8)))
        self.single_runs = len(self.single)
        self.runs = self.single_runs + len(self.whole) * chunks
        self.segments = self.single_runs + len(self.whole) * spec.segments
        self.current_clip = ""

    def feeds(self) -> Iterator[Feed]:
        """Yield the inputs of each run: `segments (n, 2, F, H, W, 3)`."""
        for i, clip in enumerate(self._clips(self.single)):
            segment = self.positions[i % 2]
            yield {"segments": clip[None, segment : segment + 2]}
        for clip in self.whole_clips():
            for pairs in pair_chunks(clip):
                yield {"segments": pairs}

    def spread(self, count: int) -> Iterator[Feed]:
        """Yield `count` segments, one per run, evenly spread over all segments of all clips."""
        segments = self.stored.index.spec.segments
        last = len(self.stored) * segments - 1
        places = np.unique(np.linspace(0, last, count).round().astype(int))

        # Clips are read once each, in order, however many of their segments are wanted.
        clip_of, segment_of = places // segments, places % segments
        clips = np.unique(clip_of).tolist()
        for i, clip in zip(clips, self._clips(clips), strict=True):
            for segment in segment_of[clip_of == i].tolist():
                yield {"segments": clip[None, segment : segment + 2]}

    def whole_clips(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the clips that are encoded whole, `(1 + S, F, H, W, 3)`."""
        return self._clips(self.whole)

    @contextmanager
    def name_clip_in_errors(self) -> Iterator[None]:
        """Add the clip that was read last to a `UsageError` of the block."""
        try:
            yield
        except UsageError as error:
            # The type stays: activations that are not numbers are no fault of the clip.
            raise type(error)(
                f"{error.what} It was clip {self.current_clip} of {self.stored.folder}.",
                error.hint,
            ) from None

    def _clips(self, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        for i, clip in zip(indices, self.stored.clips(indices), strict=True):
            self.current_clip = self.stored.index.clips[i].id
            yield clip


class FeatureStore:
    """Features of whole clips on disk: the inputs that the head is calibrated on."""

    def __init__(self, folder: Path, clips: int, segments: int) -> None:
        self.folder, self.clips, self.segments = folder, clips, segments
        self._arrays: dict[str, NDArray[np.float32]] = {}
        self._filled = 0

    def __len__(self) -> int:
        return self.clips

    def append(self, features: Feed) -> None:
        """Append encoded segments `(n, ...)` by tensor; more than the clips have are ignored."""
        rows = len(next(iter(features.values())))
        room = self.clips * self.segments - self._filled
        if room <= 0:
            return

        for name, values in features.items():
            # Shapes are known from the first features only.
            if name not in self._arrays:
                shape = (self.clips * self.segments, *values.shape[1:])
                path = self.folder / f"features-{name}.f32"
                self._arrays[name] = np.memmap(path, np.float32, "w+", shape=shape)
            self._arrays[name][self._filled : self._filled + rows] = values[:room]
        self._filled += rows

    def feeds(self) -> Iterator[Feed]:
        """Yield the features of each clip, `(1, S, ...)` by tensor."""
        for i in range(self.clips):
            rows = slice(i * self.segments, (i + 1) * self.segments)
            yield {name: np.asarray(values[rows])[None] for name, values in self._arrays.items()}
