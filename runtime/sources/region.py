"""The part of a camera's picture that is looked at: a region, without what is masked."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.frames import Frame, Source
from gasmcast.runtime.sources.camera_spec import CameraSpec

__all__ = ["RegionSource"]


class RegionSource:
    """A source seen through the region and mask of its `CameraSpec`: masked black first, then cut."""

    def __init__(self, source: Source, spec: CameraSpec) -> None:
        self.name, self.live, self.reconnects = source.name, source.live, source.reconnects
        self._source, self._spec = source, spec
        self._hidden: NDArray[np.bool_] | None = None

    def frames(self) -> Iterator[Frame]:
        """Raises: what the source raises."""
        frames = self._source.frames()
        try:
            for frame in frames:
                yield Frame(frame.stamp_s, frame.arrival, self._cut(frame.image))
        finally:
            close = getattr(
                frames, "close", None
            )  # a generator that is given up must release its camera now
            if close is not None:
                close()

    def _cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        if self._spec.mask:
            if self._hidden is None or self._hidden.shape != (height, width):
                canvas = np.zeros((height, width), np.uint8)
                cv2.fillPoly(
                    canvas,
                    [
                        np.int32(np.array(polygon) * (width - 1, height - 1))
                        for polygon in self._spec.mask
                    ],
                    1,
                )
                self._hidden = canvas.astype(bool)
            image = image.copy()
            image[self._hidden] = 0
        if self._spec.region is not None:
            x, y, w, h = self._spec.region
            left, top = min(int(x * width), width - 1), min(int(y * height), height - 1)
            image = image[
                top : max(top + 1, round((y + h) * height)),
                left : max(left + 1, round((x + w) * width)),
            ]
        return image
