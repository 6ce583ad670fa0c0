"""Several views of each clip: windows spread over its length, crops spread over its long side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gasmcast.data.annotations import Sample
from gasmcast.data.clip_reader import clip_length_s, read_clip_slots
from gasmcast.data.failures import check_failures
from gasmcast.data.shared_memory import share
from gasmcast.errors import SourceError, UsageError
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame
from gasmcast.video.reader import Frame

__all__ = ["ViewClips", "parse_views"]


def parse_views(text: str) -> tuple[int, int]:
    """Parse "2x3" into 2 windows and 3 crops.

    Raises:
        UsageError: the text is not of that form.
    """
    windows, cross, crops = text.partition("x")
    is_form = bool(cross) and windows.isdigit() and crops.isdigit()
    if not is_form or not 1 <= int(windows) <= 10 or int(crops) not in (1, 3):
        raise UsageError(
            f"--views {text!r} is not windows x crops.", "Use 1x1, 1x3 or 2x3 (crops are 1 or 3)."
        )
    return int(windows), int(crops)


def view_starts(length_s: float, spec: ClipSpec, windows: int) -> list[float]:
    """Return the starts of a clip's windows in seconds: the middles of equal parts of its slack.

    One window is the centered one. A clip no longer than the window has no slack: its windows are
    shifted by a part of a slot, so that they take other frames (interleaved sampling, as CAST's two
    test clips, Lee et al. 2023).

    Args:
        length_s: length of the clip.
        spec: the sampling contract.
        windows: number of windows.
    """
    if windows == 1:
        return [spec.centered_start(length_s)]

    slack = max(0.0, length_s - spec.window_s)
    if slack >= 1 / spec.fps:
        return [slack * (i + 0.5) / windows for i in range(windows)]

    # Shifts are spread evenly over one slot, centered on the middle window.
    starts = []
    for i in range(windows):
        shift = (i - (windows - 1) / 2) / (windows * spec.fps)
        starts.append(max(0.0, slack / 2 + shift))
    return starts


class ViewClips:
    """A set of `len(samples) * windows * crops` clips; the views of one clip are consecutive.

    The middle crop is `fit_frame`'s, so that 1x1 is exactly the single-view evaluation.
    """

    def __init__(self, samples: Sequence[Sample], spec: ClipSpec, windows: int, crops: int) -> None:
        """Make the set; nothing is read yet.

        Args:
            samples: the clips.
            spec: the sampling contract.
            windows: number of windows per clip.
            crops: 1 or 3 crops per window.

        Raises:
            UsageError: three crops of a clip spec that squashes frames, which leaves nothing
                outside the crop.
        """
        if crops > 1 and spec.fit == "squash":
            raise UsageError(
                "This model's clip spec squashes whole frames: there is only one crop.",
                f"Use --views {windows}x1.",
            )
        self.samples, self.spec, self.windows, self.crops = samples, spec, windows, crops
        self.failed = share(torch.zeros(len(self), dtype=torch.uint8))

    def __len__(self) -> int:
        return len(self.samples) * self.windows * self.crops

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """Return view `index` as `(clip uint8 (1+S, F, H, W, 3), label, index)`.

        A clip that does not decode is black, and all its views are marked in `failed`.

        Raises:
            SourceError: more than 1 % of the clips do not decode.
        """
        views = self.windows * self.crops
        number, view = divmod(index, views)
        sample = self.samples[number]
        label = -1 if sample.label is None else sample.label
        # A black clip keeps the batch whole; the caller leaves its clip out of the figures.
        try:
            frames = self._read(sample, view)
        except SourceError as error:
            self.failed[number * views : (number + 1) * views] = 1
            self._check_failures(error)
            return torch.zeros(self.spec.clip_shape, dtype=torch.uint8), label, index
        return torch.from_numpy(frames.reshape(self.spec.clip_shape)), label, index

    def failures(self) -> list[str]:
        """Return the names of the clips that did not decode so far."""
        views = self.windows * self.crops
        return [self.samples[i].id for i in self.failed[::views].nonzero()[:, 0].tolist()]

    def _read(self, sample: Sample, view: int) -> NDArray[np.uint8]:
        """Return the frames of one view, `((1+S) F, H, W, 3)` RGB."""
        window, crop = divmod(view, self.crops)
        start = view_starts(clip_length_s(sample), self.spec, self.windows)[window]
        fit = self._fit(crop)
        slots = self.spec.slot_times(start)
        return read_clip_slots(sample, slots, fit, threads=1)

    def _fit(self, crop: int) -> Callable[[Frame], Frame]:
        """Return the function that brings a frame to the square of a crop."""
        if self.crops > 1:
            return _crop(self.spec, place=crop / 2)
        return lambda frame: fit_frame(frame, self.spec.pixels, self.spec.fit)

    def _check_failures(self, last: SourceError) -> None:
        """Raise when too many clips do not decode."""
        names = self.failures()
        check_failures(
            names,
            len(self.samples),
            lambda shown: SourceError(
                f"{len(names)} of {len(self.samples)} clips do not decode {shown}."
                f" The last: {last.what}",
                last.hint,
            ),
        )


def _crop(spec: ClipSpec, place: float) -> Callable[[Frame], Frame]:
    """Return the function that cuts a square as large as the short side out of a frame.

    Args:
        spec: gives the size of the result.
        place: position along the long side: 0 left or top, 0.5 center, 1 right or bottom.
    """

    def crop(frame: Frame) -> Frame:
        height, width = frame.shape[:2]
        side = min(height, width)
        y, x = int((height - side) * place), int((width - side) * place)
        return fit_frame(frame[y : y + side, x : x + side], spec.pixels, "crop")

    return crop
