"""Restriction of a camera's picture to a region, without masked parts."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.runtime.frames import Frame, Source
from gasmcast.runtime.sources.camera_spec import CameraSpec

__all__ = ["RegionSource"]


class RegionSource:
    """A source whose frames are masked black and then cropped, as its `CameraSpec` says."""

    def __init__(self, source: Source, spec: CameraSpec) -> None:
        self.name, self.live, self.reconnects = source.name, source.live, source.reconnects
        self._source, self._spec = source, spec
        self._mask: NDArray[np.bool_] | None = None

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of the source, masked and cropped; raises what the source raises."""
        frames = self._source.frames()
        try:
            for frame in frames:
                yield Frame(frame.stamp_s, frame.arrival, self._crop(frame.image))
        finally:
            # An abandoned generator must release its camera now.
            close = getattr(frames, "close", None)
            if close is not None:
                close()

    def _crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        if self._spec.mask:
            # The resolution may change with a reconnect.
            if self._mask is None or self._mask.shape != (height, width):
                self._mask = self._draw_mask(height, width)
            image = image.copy()
            image[self._mask] = 0

        # At least one pixel remains of a region that is smaller than that.
        if self._spec.region is not None:
            x, y, w, h = self._spec.region
            left, top = min(int(x * width), width - 1), min(int(y * height), height - 1)
            right = max(left + 1, round((x + w) * width))
            bottom = max(top + 1, round((y + h) * height))
            image = image[top:bottom, left:right]
        return image

    def _draw_mask(self, height: int, width: int) -> NDArray[np.bool_]:
        canvas = np.zeros((height, width), np.uint8)
        polygons = [
            np.int32(np.array(polygon) * (width - 1, height - 1)) for polygon in self._spec.mask
        ]
        cv2.fillPoly(canvas, polygons, 1)
        return canvas.astype(bool)
