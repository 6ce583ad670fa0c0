"""Read video files: frames with time stamps.

Training, evaluation and live recognition of files all read through here, so they see the same
pixels. FFmpeg inside OpenCV decodes. Rotation is applied, and time stamps count from the first
frame. Oddities are corrected (a wrong frame rate, frame count or time stamp); damage is an error (a
file without frames, or one that ends early).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# FFmpeg would print its own report of every odd packet; the SourceError says what matters. OpenCV
# reads the variable when it opens the first file.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import SourceError

__all__ = ["Frame", "FrameTimes", "as_rgb", "decode", "duration_s", "read_frames"]

Frame = NDArray[np.uint8]

# OpenCV 4 and OpenCV 5 have it in different places.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel

_DEFAULT_FPS = 30.0
"""Frame rate of a file that states no credible one and has no usable stamps."""
_MISSING_SHARE = 0.2
"""Share of its stated length that a file may lack before it counts as cut short."""
_MISSING_S = 0.5
"""Seconds that a file may lack in addition."""


class FrameTimes(NamedTuple):
    """Times around one frame of a file, in seconds after the first frame."""

    previous_s: float
    """Stamp of the frame before; -inf for the first one."""
    stamp_s: float
    """Stamp of the frame."""
    next_s: float
    """Expected stamp of the next frame."""
    end_s: float
    """End of the file, as it states it."""


def read_frames(path: str | Path, threads: int | None = None) -> Iterator[tuple[float, Frame]]:
    """Yield every frame of a video file in order.

    Args:
        path: a local file of any container and codec that FFmpeg reads.
        threads: number of decoder threads; None lets FFmpeg choose.

    Yields:
        `(stamp_s, frame)`: seconds after the first frame, strictly ascending, and `(H, W, 3)` uint8
        RGB, rotated as it is meant to be shown. If a file changes its frame size, later frames are
        resized to that of the first.

    Raises:
        SourceError: the file is missing, empty, encrypted, has no video stream or no frame that can
            be decoded, or ends well before its stated length (raised after its last good frame).
    """
    for stamp, image in decode(path, threads):
        assert image is not None  # none is skipped
        yield stamp, as_rgb(image)


def decode(
    path: str | Path,
    threads: int | None,
    wanted: Callable[[FrameTimes], bool] | None = None,
) -> Iterator[tuple[float, NDArray[np.uint8] | None]]:
    """Yield stamps and images of a video file.

    Args:
        path: a local video file.
        threads: number of decoder threads; None lets FFmpeg choose.
        wanted: returns whether a frame's image is needed. Converting it is a quarter of the work.

    Yields:
        `(stamp_s, image)`, in OpenCV's order of channels; None for an image that is not wanted.

    Raises:
        SourceError: as `read_frames`.
    """
    capture = _open(path, threads)
    try:
        # `step` is the last known distance of frames; it stands in for missing stamps.
        step, count = 1.0 / _credible_fps(capture), 0
        end = capture.get(cv2.CAP_PROP_FRAME_COUNT) * step
        last, origin = -math.inf, 0.0

        while capture.grab():
            position = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            pace = step
            if count == 0:
                origin = position if math.isfinite(position) else 0.0
                stamp = 0.0
            elif math.isfinite(position) and position - origin > last:
                pace, stamp = position - origin - last, position - origin
            else:
                # A stamp that is missing or out of order: one frame later than the last.
                stamp = last + step

            image = None
            if wanted is None or wanted(FrameTimes(last, stamp, stamp + pace, end)):
                ok, image = capture.retrieve()
                if not ok or image is None:
                    continue

            # The step is updated only here, because a frame that fails must not change it.
            last, step = stamp, pace
            count += 1
            yield stamp, image

        _check_complete(capture, str(path), count, max(last, 0.0) + step)
    finally:
        capture.release()


def duration_s(path: str | Path) -> float:
    """Return the length of a video in seconds by its header, without decoding.

    0.0 if the header does not state it.

    Raises:
        SourceError: the file is missing, empty, encrypted or has no video stream.
    """
    capture = _open(path, 1)
    try:
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        seconds = count / fps if fps > 0 and count > 0 else 0.0
        return seconds if math.isfinite(seconds) else 0.0
    finally:
        capture.release()


def as_rgb(image: NDArray[np.uint8]) -> Frame:
    """Convert an image as OpenCV decodes it to `(H, W, 3)` RGB.

    Args:
        image: `(H, W)` gray, `(H, W, 3)` BGR or `(H, W, 4)` BGRA.
    """
    if image.ndim == 2 or image.shape[2] == 1:
        code = cv2.COLOR_GRAY2RGB
    elif image.shape[2] == 4:
        code = cv2.COLOR_BGRA2RGB
    else:
        code = cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def _open(path: str | Path, threads: int | None) -> cv2.VideoCapture:
    """Open a video file, or raise SourceError with the reason why not."""
    file = Path(path)
    if not file.is_file():
        raise SourceError(f"There is no video file {path}.", "Check the path.")
    if file.stat().st_size == 0:
        raise SourceError(f"{path} is empty.", "Copy or record it again.")

    # OpenCV would print a warning to standard error before it reports the failure.
    settings = [] if threads is None else [cv2.CAP_PROP_N_THREADS, threads]
    level = _set_log_level(0)
    try:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, settings)
    finally:
        _set_log_level(level)
    if capture.isOpened():
        return capture

    capture.release()
    if _is_encrypted(file):
        raise SourceError(f"{path} is encrypted.", "Give a copy without digital rights management.")
    raise SourceError(
        f"{path} has no video stream that can be read.",
        "It is audio only, damaged, or not a video.",
    )


def _is_encrypted(file: Path) -> bool:
    """Return whether the start of an MP4 names boxes of ISO/IEC 23001-7 common encryption."""
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
    return any(box in head for box in (b"encv", b"cenc", b"cbcs", b"pssh"))


def _credible_fps(capture: cv2.VideoCapture) -> float:
    """Return the stated frame rate, or the default if that cannot be true."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0.5 <= fps <= 480 else _DEFAULT_FPS


def _check_complete(capture: cv2.VideoCapture, where: str, count: int, seen_s: float) -> None:
    """Raise SourceError when a file had no frame, or ended far before its header says.

    Both its frames and its time must fall short. One of the two alone proves nothing: headers
    miscount frames, and a last frame may be held for long.
    """
    stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    if count == 0:
        raise _no_frame(capture, where, stated)

    # The rate as stated, credible or not: the header's frame count depends on it.
    rate = capture.get(cv2.CAP_PROP_FPS)
    length = stated / rate if rate > 0 else 0.0
    few_frames = count < (1 - _MISSING_SHARE) * stated
    short_time = seen_s < (1 - _MISSING_SHARE) * length - _MISSING_S
    if few_frames and short_time:
        raise SourceError(
            f"{where} is damaged or cut short: {seen_s:.1f} of {length:.1f} s could be decoded.",
            "Copy or record it again.",
        )


def _no_frame(capture: cv2.VideoCapture, where: str, stated: float) -> SourceError:
    """Return the error of a file without a frame, with its codec if it claims to have frames."""
    # The four bytes of the codec's name, padded with zeros or spaces.
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    codec = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)).strip("\0 ")
    if stated > 0 and codec.isprintable():
        return SourceError(
            f"No frame of {where} could be decoded (codec {codec}, OpenCV {cv2.__version__}).",
            "It is damaged, or of a codec that this OpenCV lacks: AV1 needs"
            " opencv-python>=4.14,<5.",
        )
    return SourceError(
        f"{where} holds no video frame.", "It is cut short, or only the head of a stream."
    )
