"""Clips for training and evaluation, decoded by the runtime's reader and augmented, in uint8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gasmcast.config import AugmentConfig
from gasmcast.data.annotations import Sample
from gasmcast.data.clip_reader import clip_length_s, read_clip_slots
from gasmcast.data.failures import check_failures
from gasmcast.data.lazy_augmentation import LazyAugmentation
from gasmcast.data.preload import SmallVideo, preload_videos, read_small
from gasmcast.data.shared_memory import share
from gasmcast.errors import SourceError
from gasmcast.progress import Progress, silent
from gasmcast.spec import ClipSpec, nearest_frames

__all__ = ["ClipDataset"]


class ClipDataset(Dataset[tuple[Tensor, int, int]]):
    """The clips of a split: `(clip uint8 (1+S, F, H, W, 3), label, index)` each.

    What is drawn for a clip depends on seed, epoch and index alone, so neither the number of
    workers nor the order of access matters. A clip that does not decode is marked in `failed`,
    which all workers share. In training another one replaces it, drawn the same way (and its index
    is returned). In evaluation it is black, and the caller leaves it out.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        spec: ClipSpec,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        swap: Mapping[int, int] | None = None,
    ) -> None:
        """Make a set of clips; nothing is read yet.

        Args:
            samples: the clips.
            spec: the sampling contract.
            augment: augmentation for training. None for evaluation: the centered window of each
                clip, nothing drawn.
            seed: seed of everything drawn.
            swap: classes that a mirrored clip changes to (`Labels.left_right_swap()`).
        """
        self.samples = list(samples)
        self.spec = spec
        self.augment = augment
        self.seed = seed
        self.swap = dict(swap or {})

        # Worker processes share these, so that they agree on the epoch and on bad clips.
        count = len(self.samples)
        self.failed = share(torch.zeros(count, dtype=torch.uint8))
        self._epoch = share(torch.zeros(1, dtype=torch.int64))
        self._lengths = share(torch.full((count,), torch.nan, dtype=torch.float64))
        self._preloaded: dict[int, SmallVideo] = {}

    @property
    def labels(self) -> list[int]:
        """Class of each clip; -1 for a clip without one."""
        return [-1 if sample.label is None else sample.label for sample in self.samples]

    @property
    def ids(self) -> list[str]:
        """Name of each clip."""
        return [sample.id for sample in self.samples]

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Shape of every clip, `(1+S, F, H, W, 3)`."""
        return self.spec.clip_shape

    def failures(self) -> list[str]:
        """Return the names of the clips that did not decode so far."""
        return [self.samples[int(i)].id for i in self.failed.nonzero()[:, 0]]

    def plain(self) -> ClipDataset:
        """Return the same clips as evaluation sees them."""
        return ClipDataset(self.samples, self.spec, None, self.seed)

    def set_epoch(self, epoch: int) -> None:
        """Use the draws of `epoch` from now on, in running workers too."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """Return clip `index`, or in training the one that replaces it.

        Raises:
            SourceError: more than 1 % of the set's clips do not decode.
        """
        return self.draw(index, int(self._epoch))

    def draw(self, index: int, epoch: int) -> tuple[Tensor, int, int]:
        """Return clip `index` as it is drawn in `epoch`, whatever the current epoch is.

        Raises:
            SourceError: more than 1 % of the set's clips do not decode.
        """
        clip = torch.empty(self.spec.clip_shape, dtype=torch.uint8)
        return clip, *self._fill(index, epoch, clip)

    def write(self, index: int, out: Tensor) -> tuple[int, int]:
        """Write clip `index` into existing memory and return its label and index.

        Args:
            index: number of the clip.
            out: `(1+S, F, H, W, 3)` uint8, contiguous.

        Raises:
            SourceError: more than 1 % of the set's clips do not decode.
        """
        return self._fill(index, int(self._epoch), out)

    def preload(self, budget_bytes: int, threads: int = 2, progress: Progress = silent) -> bool:
        """Decode the whole set into memory, so that epochs cost no decoding.

        Call it before workers are started. Frames are stored as evaluation sees them, or somewhat
        larger than a clip's if crops are drawn.

        Args:
            budget_bytes: store nothing if the set would need more.
            threads: number of threads that decode.
            progress: called after each clip.

        Returns:
            Whether the set is in memory now.

        Raises:
            SourceError: more than 1 % of the set's clips do not decode.
        """
        videos = preload_videos(
            self._decode, len(self.samples), budget_bytes, threads=threads, progress=progress
        )
        if videos is None:
            return False
        self._preloaded = videos
        return True

    def length_s(self, index: int) -> float:
        """Return the length of a clip in seconds, which is read once.

        Raises:
            SourceError: the video cannot be opened.
        """
        if not torch.isfinite(self._lengths[index]):
            self._lengths[index] = clip_length_s(self.samples[index])
        return float(self._lengths[index])

    def start_s(self, index: int) -> float:
        """Return when the window of clip `index` starts in the current epoch, in seconds."""
        rng = np.random.default_rng((self.seed, int(self._epoch), index))
        return self._draw_window(self.length_s(index), rng)[0]

    def _fill(self, index: int, epoch: int, out: Tensor) -> tuple[int, int]:
        """Write a clip or its replacement into `out`; return its label and index."""
        # Keyed by the requested clip, so that its replacement is the same whether it was known to
        # be bad before or not.
        replacements = np.random.default_rng((self.seed, epoch, index, 1))

        while True:
            if not self.failed[index]:
                rng = np.random.default_rng((self.seed, epoch, index))
                try:
                    return self._write_clip(index, rng, out), index
                except SourceError as error:
                    self._mark_failed(index, error)

            # Evaluation must not count another clip in its place.
            if self.augment is None:
                label = self.samples[index].label
                out.zero_()
                return -1 if label is None else label, index
            index = int(replacements.integers(len(self.samples)))

    def _write_clip(self, index: int, rng: np.random.Generator, out: Tensor) -> int:
        """Write a clip into `out` and return its label, as drawn."""
        sample, video = self.samples[index], self._preloaded.get(index)
        length_s = self.length_s(index) if video is None else video.length_s
        start_s, speed = self._draw_window(length_s, rng)
        slots = start_s + speed * self.spec.slot_times()
        draw = LazyAugmentation(rng, self.augment, self.spec)
        frames = out.numpy().reshape(-1, *self.spec.clip_shape[2:])  # (slots, H, W, 3)

        if video is None:
            read_clip_slots(sample, slots, draw, threads=1, out=frames)
        else:
            # A preloaded frame is augmented once, however many slots take it.
            nearest = nearest_frames(video.stamps, slots)
            used, slot_of = np.unique(nearest, return_inverse=True)
            for number, frame in enumerate(used):
                frames[slot_of == number] = draw(video.frames[frame])

        # A mirrored clip may show another class: left becomes right.
        label = -1 if sample.label is None else sample.label
        return self.swap.get(label, label) if draw.flip else label

    def _draw_window(self, length_s: float, rng: np.random.Generator) -> tuple[float, float]:
        """Return start of the window in seconds and playback speed.

        At a speed of 2 the window covers twice its duration of the video. It is centered, or with
        time jitter anywhere that it fits into the video (or the video into the window).
        """
        speed = 1.0
        if self.augment is not None and self.augment.speed != (1.0, 1.0):
            slowest, fastest = np.log(self.augment.speed)
            speed = float(np.exp(rng.uniform(slowest, fastest)))
        if self.augment is None or not self.augment.time_jitter:
            return max(0.0, (length_s - speed * self.spec.window_s) / 2), speed
        slack = length_s - speed * self.spec.window_s
        return float(rng.uniform(min(0.0, slack), max(0.0, slack))), speed

    def _decode(self, index: int) -> SmallVideo | None:
        """Return a whole video with small frames, or None if it does not decode."""
        crops = self.augment is not None and self.augment.crop_scale != (1.0, 1.0)
        try:
            return read_small(self.samples[index], self.spec, crops=crops)
        except SourceError as error:
            self._mark_failed(index, error)
            return None

    def _mark_failed(self, index: int, last: SourceError) -> None:
        """Mark a clip as bad; raise when too many are."""
        self.failed[index] = 1
        names = self.failures()
        check_failures(
            names,
            len(self.samples),
            lambda shown: SourceError(
                f"{len(names)} of {len(self.samples)} clips do not decode {shown}."
                f" The last: {last.what}",
                "Repair them, or take them out of the annotation file.",
            ),
        )
