"""Several views of each clip: windows spread over its length, crops spread over its long side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gasmcast.data.dataset import BAD_SHARE
from gasmcast.errors import SourceError, UsageError
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame, read_slots
from gasmcast.video.reader import as_rgb, duration_s

if TYPE_CHECKING:
    from gasmcast.data.annotations import Sample

__all__ = ["ViewClips", "parse_views", "view_starts"]

Frame = NDArray[np.uint8]


def parse_views(text: str) -> tuple[int, int]:
    """`"2x3"` -> 2 windows, 3 crops.

    Raises:
        UsageError: not of that form.
    """
    windows, cross, crops = text.partition("x")
    if (
        not (cross and windows.isdigit() and crops.isdigit())
        or not 1 <= int(windows) <= 10
        or int(crops) not in (1, 3)
    ):
        raise UsageError(
            f"--views {text!r} is not windows x crops.", "Use 1x1, 1x3 or 2x3 (crops are 1 or 3)."
        )
    return int(windows), int(crops)


def view_starts(length_s: float, spec: ClipSpec, windows: int) -> list[float]:
    """Where the windows of a clip begin: the middles of equal parts of the time that there is to choose from.

    One window is the centered one. A clip no longer than the window has nothing to choose from: its windows lie a part of a slot
    apart, so that they take other frames (interleaved sampling, as CAST's two test clips).
    """
    slack = max(0.0, length_s - spec.window_s)
    if windows == 1:
        return [spec.centered_start(length_s)]
    if slack >= 1 / spec.fps:
        return [slack * (i + 0.5) / windows for i in range(windows)]
    return [
        max(0.0, slack / 2 + (i - (windows - 1) / 2) / (windows * spec.fps)) for i in range(windows)
    ]


def _crop(spec: ClipSpec, place: float) -> Callable[[Frame], Frame]:
    """The square at `place` (0 left or top, 0.5 center, 1 right or bottom) of the long side, as large as the short one."""

    def crop(frame: Frame) -> Frame:
        height, width = frame.shape[:2]
        side = min(height, width)
        y, x = int((height - side) * place), int((width - side) * place)
        return fit_frame(frame[y : y + side, x : x + side], spec.pixels, "crop")

    return crop


class ViewClips:
    """A set of `len(samples) * windows * crops` clips; the views of one clip follow each other.

    The middle crop is `fit_frame`'s, so that 1x1 is exactly the single-view evaluation.

    Raises:
        UsageError: three crops of a clip spec that squashes frames, where there is nothing beside the crop.
    """

    def __init__(self, samples: Sequence[Sample], spec: ClipSpec, windows: int, crops: int) -> None:
        if crops > 1 and spec.fit == "squash":
            raise UsageError(
                "This model's clip spec squashes whole frames: there is only one crop.",
                f"Use --views {windows}x1.",
            )
        self.samples, self.spec, self.windows, self.crops = samples, spec, windows, crops
        self.failed = torch.zeros(len(self), dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.samples) * self.windows * self.crops

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """View `index` as `(clip uint8 (1+S, F, H, W, 3), label, index)`; black, and all its views in `failed`, if it does not decode.

        Raises:
            SourceError: more than 1 % of the clips do not decode.
        """
        views = self.windows * self.crops
        number, view = divmod(index, views)
        sample = self.samples[number]
        label = -1 if sample.label is None else sample.label
        try:
            frames = self._read(sample, view)
        except SourceError as error:
            self.failed[number * views : (number + 1) * views] = 1
            count = int(self.failed.sum()) // views
            if count > BAD_SHARE * len(self.samples):
                raise SourceError(
                    f"{count} of {len(self.samples)} clips do not decode. The last: {error.what}",
                    error.hint,
                ) from None
            return torch.zeros(self.spec.clip_shape, dtype=torch.uint8), label, index
        return torch.from_numpy(frames.reshape(self.spec.clip_shape)), label, index

    def _read(self, sample: Sample, view: int) -> NDArray[np.uint8]:
        if sample.path is None:
            raise SourceError(f"Clip {sample.id} has no video file.")
        start = view_starts(duration_s(sample.path), self.spec, self.windows)[view // self.crops]
        place = (view % self.crops) / 2
        shape = (
            _crop(self.spec, place)
            if self.crops > 1
            else lambda frame: fit_frame(frame, self.spec.pixels, self.spec.fit)
        )
        return read_slots(
            sample.path, self.spec.slot_times(start), lambda frame: as_rgb(shape(frame)), threads=1
        )

    def failures(self) -> list[str]:
        """The names of the clips that did not decode so far."""
        views = self.windows * self.crops
        return [self.samples[i].id for i in self.failed[::views].nonzero()[:, 0].tolist()]
