"""Pictures of the web view: smaller, and as JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["jpeg", "shrink"]


def jpeg(image: NDArray[np.uint8], longer: int, quality: int = 80) -> bytes:
    """Return an RGB image `(H, W, 3)` as JPEG whose longer side has at most `longer` pixels."""
    bgr = cv2.cvtColor(shrink(image, longer), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return data.tobytes() if done else b""


def shrink(image: NDArray[np.uint8], longer: int) -> NDArray[np.uint8]:
    """Downscale so that the longer side has at most `longer` pixels; never upscale."""
    scale = longer / max(image.shape[:2])
    if scale >= 1:
        return image
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
