"""Clips for training and evaluation: decoded by the runtime's reader, augmented, in uint8."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gasmcast.config import AugmentConfig
from gasmcast.data.annotations import Sample
from gasmcast.data.augment import Augmentation, draw_augmentation
from gasmcast.data.preload import SmallVideo, read_small
from gasmcast.errors import SourceError
from gasmcast.spec import ClipSpec, nearest_frames
from gasmcast.video.clip import read_slots
from gasmcast.video.reader import Frame, as_rgb, duration_s

__all__ = ["BAD_SHARE", "ClipDataset"]

BAD_SHARE = 0.01  # of a set's clips may fail to decode before the run stops


class ClipDataset(Dataset[tuple[Tensor, int, int]]):
    """The clips of a split, `(clip uint8 (1+S, F, H, W, 3), label, index)` each.

    What is drawn for a clip depends on seed, epoch and index alone, so neither the number of workers nor the order in which
    clips are asked for matters. A clip that does not decode is marked in `failed`, which all workers share: in training
    another one takes its place, drawn the same way (and its index is returned); in evaluation it comes black, and the caller
    leaves it out.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        spec: ClipSpec,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        swap: Mapping[int, int] | None = None,
    ) -> None:
        """A set of clips.

        Args:
            samples: the clips.
            spec: the sampling contract.
            augment: training; None: evaluation, the centered window of each clip and nothing drawn.
            seed: of everything drawn.
            swap: `Labels.left_right_swap()`, the classes that a mirrored clip changes to.
        """
        self.samples = list(samples)
        self.spec = spec
        self.augment = augment
        self.seed = seed
        self.swap = dict(swap or {})
        self.failed = torch.zeros(len(self.samples), dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]  # torch has no types here
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # nor here
        lengths = torch.full((len(self.samples),), torch.nan, dtype=torch.float64)
        self._lengths = lengths.share_memory_()  # type: ignore[no-untyped-call]  # nor here
        self._kept: dict[int, SmallVideo] = {}

    @property
    def labels(self) -> list[int]:
        """The class of each clip; -1 where it has none."""
        return [-1 if sample.label is None else sample.label for sample in self.samples]

    @property
    def ids(self) -> list[str]:
        """The name of each clip."""
        return [sample.id for sample in self.samples]

    def failures(self) -> list[str]:
        """The names of the clips that did not decode so far."""
        return [self.samples[int(i)].id for i in self.failed.nonzero()[:, 0]]

    def plain(self) -> ClipDataset:
        """The same clips as evaluation sees them."""
        return ClipDataset(self.samples, self.spec, None, self.seed)

    def set_epoch(self, epoch: int) -> None:
        """Draw anew, in running workers too."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """Clip `index`, or in training the one that stands in for it.

        Raises:
            SourceError: more than `BAD_SHARE` of the set's clips do not decode.
        """
        return self.draw(index, int(self._epoch))

    def draw(self, index: int, epoch: int) -> tuple[Tensor, int, int]:
        """Clip `index` as it is drawn in an epoch that need not be the present one.

        Raises:
            SourceError: more than `BAD_SHARE` of the set's clips do not decode.
        """
        clip = torch.empty(self.spec.clip_shape, dtype=torch.uint8)
        return clip, *self._fill(index, epoch, clip)

    def write(self, index: int, out: Tensor) -> tuple[int, int]:
        """Clip `index` into memory that is there, `out` `(1+S, F, H, W, 3)` uint8 and contiguous; its label and index.

        Raises:
            SourceError: more than `BAD_SHARE` of the set's clips do not decode.
        """
        return self._fill(index, int(self._epoch), out)

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Of every clip."""
        return self.spec.clip_shape

    def _fill(self, index: int, epoch: int, out: Tensor) -> tuple[int, int]:
        # Keyed by the clip that was asked for, so that what stands in for it is the same whether it was known to be bad or not.
        others = np.random.default_rng((self.seed, epoch, index, 1))
        while True:
            if not self.failed[index]:
                try:
                    return self._clip(
                        index, np.random.default_rng((self.seed, epoch, index)), out
                    ), index
                except SourceError as error:
                    self._mark(index, error)
            if self.augment is None:
                label = self.samples[index].label
                out.zero_()
                return -1 if label is None else label, index
            index = int(others.integers(len(self.samples)))

    def preload(
        self, budget_bytes: int, threads: int = 2, on_clip: Callable[[int, int], None] | None = None
    ) -> bool:
        """Decode the whole set into memory, so that epochs cost no decoding; call it before workers are started.

        Frames are kept as evaluation sees them, or, where crops are drawn, somewhat larger than a clip's.

        Args:
            budget_bytes: keep nothing when the set would need more.
            threads: that decode at once.
            on_clip: called with clips done and all clips.

        Returns:
            Whether the set is in memory now.

        Raises:
            SourceError: more than `BAD_SHARE` of the set's clips do not decode.
        """
        kept: dict[int, SmallVideo] = {}
        used = 0
        with ThreadPoolExecutor(threads) as pool:
            waiting = list(range(len(self.samples)))
            block = 4 * threads
            for first in range(0, len(waiting), block):
                for index, clip in zip(
                    waiting[first : first + block],
                    pool.map(self._decode, waiting[first : first + block]),
                    strict=True,
                ):
                    if clip is not None:
                        kept[index] = clip
                        used += clip.frames.nbytes
                    if on_clip is not None:
                        on_clip(index + 1, len(waiting))
                if used / len(kept or [0]) * len(waiting) > budget_bytes:
                    return False
        self._kept = kept
        return True

    def _clip(self, index: int, rng: np.random.Generator, out: Tensor) -> int:
        """Write the clip; its label, as drawn."""
        sample = self.samples[index]
        path, kept = self._path(sample), self._kept.get(index)
        start = self._start(self.length_s(index) if kept is None else kept.length_s, rng)
        slots = self.spec.slot_times(start)
        label = -1 if sample.label is None else sample.label
        rgb: Callable[[Frame], Frame] = as_rgb if kept is None else lambda frame: frame
        drawn: list[Augmentation] = []

        def make(frame: Frame) -> Frame:
            if not drawn:  # at the clip's first frame, whose levels some operations look at
                config = self.augment
                drawn.append(
                    Augmentation(self.spec)
                    if config is None
                    else draw_augmentation(rng, config, self.spec, lambda: rgb(frame))
                )
            return drawn[0].colored(
                rgb(drawn[0].placed(frame))
            )  # a small frame's colors are put in order in a tenth of the time

        frames = out.numpy().reshape(-1, *self.spec.clip_shape[2:])
        if kept is None:
            read_slots(path, slots, make, threads=1, out=frames)
        else:
            used, where = np.unique(nearest_frames(kept.stamps, slots), return_inverse=True)
            for number, frame in enumerate(used):
                frames[where == number] = make(kept.frames[frame])
        return self.swap.get(label, label) if drawn[0].flip else label

    def length_s(self, index: int) -> float:
        """How long the video of clip `index` is by its header, which is read once.

        Raises:
            SourceError: it cannot be opened.
        """
        if not torch.isfinite(self._lengths[index]):
            self._lengths[index] = duration_s(self._path(self.samples[index]))
        return float(self._lengths[index])

    def start_s(self, index: int) -> float:
        """Where clip `index` begins its window in the present epoch."""
        return self._start(
            self.length_s(index), np.random.default_rng((self.seed, int(self._epoch), index))
        )

    def _start(self, length_s: float, rng: np.random.Generator) -> float:
        """Where the window begins: centered, or with time jitter anywhere that it fits (or that fits into it)."""
        if self.augment is None or not self.augment.time_jitter:
            return self.spec.centered_start(length_s)
        slack = length_s - self.spec.window_s
        return float(rng.uniform(min(0.0, slack), max(0.0, slack)))

    def _decode(self, index: int) -> SmallVideo | None:
        crops = self.augment is not None and self.augment.crop_scale != (1.0, 1.0)
        try:
            return read_small(self._path(self.samples[index]), self.spec, crops=crops)
        except SourceError as error:
            self._mark(index, error)
            return None

    def _path(self, sample: Sample) -> Path:
        if sample.path is None:
            raise SourceError(f"Clip {sample.id} has no video file.")
        return sample.path

    def _mark(self, index: int, error: SourceError) -> None:
        self.failed[index] = 1
        count = int(self.failed.sum())
        if count > BAD_SHARE * len(self.samples):
            names = self.failures()
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            share = f"{count} of {len(self.samples)} clips do not decode ({shown}), above {BAD_SHARE:.0%}."
            raise SourceError(
                f"{share} The last: {error.what}",
                "Repair them, or take them out of the annotation file.",
            ) from None
