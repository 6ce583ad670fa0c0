"""Reading video files: frames with time stamps.

Training, evaluation and live recognition of files all read through here, so they see the same pixels. FFmpeg inside
OpenCV decodes; rotation is applied, time stamps count from the first frame, and damage is told apart from oddity: a
wrong frame rate, frame count or time stamp is put right, a file without frames or one that ends early is an error.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

# FFmpeg would print its own account of every odd packet; the SourceError says what matters. Read when the first file opens.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import SourceError

__all__ = ["Frame", "as_rgb", "decode", "duration_s", "read_frames"]

Frame = NDArray[np.uint8]
_set_log_level = (
    getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
)  # OpenCV 4, OpenCV 5

_GUESSED_FPS = 30.0  # where a file states no credible rate and has no usable stamps
_MISSING_SHARE, _MISSING_S = (
    0.2,
    0.5,
)  # what a file may lack of its stated length before it counts as cut short


def read_frames(path: str | Path, threads: int | None = None) -> Iterator[tuple[float, Frame]]:
    """Every frame of a video file in order.

    Args:
        path: a local file of any container and codec that FFmpeg reads.
        threads: decoder threads; None lets FFmpeg choose.

    Yields:
        `(stamp_s, frame)`: seconds after the first frame, strictly ascending, and `(H, W, 3)` uint8 RGB as it is meant to
        be shown (rotated). Where a stream changes its size, the later frames are brought to the first's.

    Raises:
        SourceError: the file is missing, empty, encrypted, has no video stream or no frame that can be decoded, or ends
            well before its stated length (raised after its last good frame).
    """
    for stamp, image in decode(path, threads):
        assert image is not None  # all are taken
        yield stamp, as_rgb(image)


def decode(
    path: str | Path,
    threads: int | None,
    taken: Callable[[float, float, float, float], bool] | None = None,
) -> Iterator[tuple[float, NDArray[np.uint8] | None]]:
    """Stamps and pictures, in OpenCV's order of colors; None for a picture that was not taken: making one is a quarter of the work.

    `taken` is asked with the stamp before (or -inf), the frame's own, the stamp expected next, and when the file says that it ends.
    """
    capture, where = _open(path, threads)
    try:
        step, count = 1.0 / _credible_fps(capture), 0
        end = capture.get(cv2.CAP_PROP_FRAME_COUNT) * step
        last, origin = -math.inf, 0.0
        while capture.grab():
            here = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            pace = step
            if count == 0:
                origin, stamp = here if math.isfinite(here) else 0.0, 0.0
            elif math.isfinite(here) and here - origin > last:
                pace, stamp = here - origin - last, here - origin
            else:  # missing or out of order: one frame later than the last
                stamp = last + step
            image = None
            if taken is None or taken(last, stamp, stamp + pace, end):
                ok, image = capture.retrieve()
                if not ok or image is None:
                    continue
            last, step = stamp, pace
            count += 1
            yield stamp, image
        _check_whole(capture, where, count, max(last, 0.0) + step)
    finally:
        capture.release()


def duration_s(path: str | Path) -> float:
    """How long a video is, by its own header: fast, and 0.0 where the header does not say.

    Raises:
        SourceError: the file is missing, empty, encrypted or has no video stream.
    """
    capture, _ = _open(path, 1)
    try:
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        seconds = count / fps if fps > 0 and count > 0 else 0.0
        return seconds if math.isfinite(seconds) else 0.0
    finally:
        capture.release()


def as_rgb(image: NDArray[np.uint8]) -> Frame:
    """A picture as OpenCV decodes it, `(H, W)` gray, `(H, W, 3)` BGR or `(H, W, 4)` BGRA, as `(H, W, 3)` RGB."""
    if image.ndim == 2 or image.shape[2] == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(
        cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB),
        np.uint8,
    )


def _open(path: str | Path, threads: int | None) -> tuple[cv2.VideoCapture, str]:
    file = Path(path)
    where = str(path)
    if not file.is_file():
        raise SourceError(f"There is no video file {where}.", "Check the path.")
    if file.stat().st_size == 0:
        raise SourceError(f"{where} is empty.", "Copy or record it again.")
    settings = [] if threads is None else [cv2.CAP_PROP_N_THREADS, threads]
    level = _set_log_level(0)  # OpenCV warns on standard error before it says no
    try:
        capture = cv2.VideoCapture(where, cv2.CAP_FFMPEG, settings)
    finally:
        _set_log_level(level)
    if capture.isOpened():
        return capture, where
    capture.release()
    if _is_encrypted(file):
        raise SourceError(
            f"{where} is encrypted.", "Give a copy without digital rights management."
        )
    raise SourceError(
        f"{where} has no video stream that can be read.",
        "It is audio only, damaged, or not a video.",
    )


def _is_encrypted(file: Path) -> bool:
    """Whether an MP4's head names the boxes of ISO/IEC 23001-7 common encryption."""
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
    return any(box in head for box in (b"encv", b"cenc", b"cbcs", b"pssh"))


def _credible_fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0.5 <= fps <= 480 else _GUESSED_FPS


def _check_whole(capture: cv2.VideoCapture, where: str, count: int, seen_s: float) -> None:
    """Raises SourceError when a file gave no frame, or both its frames and its time end far before its header says.

    One of the two alone is no sign: headers miscount frames, and a last frame may be held for long.
    """
    stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    if count == 0:
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        codec = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)).strip("\0 ")
        if stated > 0 and codec.isprintable():
            raise SourceError(
                f"No frame of {where} could be decoded (codec {codec}, OpenCV {cv2.__version__}).",
                "It is damaged, or of a codec that this OpenCV lacks: AV1 needs opencv-python>=4.14,<5.",
            )
        raise SourceError(
            f"{where} holds no video frame.", "It is cut short, or only the head of a stream."
        )
    rate = capture.get(
        cv2.CAP_PROP_FPS
    )  # as stated, credible or not: the header's count rests on it
    length = stated / rate if rate > 0 else 0.0
    if (
        count < (1 - _MISSING_SHARE) * stated
        and seen_s < (1 - _MISSING_SHARE) * length - _MISSING_S
    ):
        raise SourceError(
            f"{where} is damaged or cut short: {seen_s:.1f} of {length:.1f} s could be decoded.",
            "Copy or record it again.",
        )
