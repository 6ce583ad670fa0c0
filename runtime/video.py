"""Reading video files: frames with time stamps, and clips on the grid of the clip spec.

Training, evaluation and live recognition of files all read through here, so they see the same pixels. FFmpeg inside
OpenCV decodes; rotation is applied, time stamps count from the first frame, and damage is told apart from oddity: a
wrong frame rate, frame count or time stamp is put right, a file without frames or one that ends early is an error.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

# FFmpeg would print its own account of every odd packet; the SourceError says what matters. Read when the first file opens.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import SourceError
from gasmcast.spec import ClipSpec, nearest_frames

__all__ = ["Frame", "as_rgb", "duration_s", "fit_frame", "pick_frames", "read_clip", "read_frames", "read_slots"]

Frame = NDArray[np.uint8]
Picked = TypeVar("Picked")
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4, OpenCV 5

_GUESSED_FPS = 30.0  # where a file states no credible rate and has no usable stamps
_DOUBT_S = 1e-6
_MISSING_SHARE, _MISSING_S = 0.2, 0.5  # what a file may lack of its stated length before it counts as cut short


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
    for stamp, image in _decode(path, threads):
        assert image is not None  # all are taken
        yield stamp, as_rgb(image)


def _decode(
    path: str | Path, threads: int | None, taken: Callable[[float, float, float, float], bool] | None = None
) -> Iterator[tuple[float, NDArray[np.uint8] | None]]:
    """Stamps and pictures, in OpenCV's order of colours; None for a picture that was not taken: making one is a quarter of the work.

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


def pick_frames(frames: Iterable[tuple[float, Picked]], slots_s: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.int64], Picked]]:
    """The frame nearest each slot, by `nearest_frames`' rule, without holding more than two frames.

    Args:
        frames: `(stamp_s, frame)` ascending, as `read_frames` gives them; read no further than the last slot needs.
        slots_s: `(m,)` times wanted, ascending; those before the first frame get it, those after the last get that.

    Yields:
        `(slots, frame)`: the indices into `slots_s` that take this frame; each index exactly once, none when there are no frames.
    """
    done, last = 0, None
    for stamp, frame in frames:
        reached = int(np.searchsorted(slots_s, stamp, side="right"))
        if reached > done:
            stamps = np.array([stamp] if last is None else [last[0], stamp])
            choice = nearest_frames(stamps, slots_s[done:reached])
            slots = np.arange(done, reached)
            here = choice == len(stamps) - 1
            if last is not None and not here.all():
                yield slots[~here], last[1]
            if here.any():
                yield slots[here], frame
            done = reached
        last = (stamp, frame)
        if done == len(slots_s):
            return
    if last is not None:
        yield np.arange(done, len(slots_s)), last[1]


def read_slots(
    path: str | Path,
    slots_s: NDArray[np.float64],
    place: Callable[[Frame], Frame],
    colour: Callable[[Frame], Frame] = lambda frame: frame,
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """The frames nearest the given times, each brought to one size once.

    Args:
        path: a local video file.
        slots_s: `(m,)` seconds after the first frame, ascending.
        place: from a decoded frame to one of a fixed size `(h, w, ...)`; it may move pixels, but sees channels as the decoder gives
            them (`as_rgb` puts them right), for a small frame is put right in a tenth of the time.
        colour: what is done to `(h, w, 3)` RGB then.
        threads: decoder threads; None lets FFmpeg choose.

    Returns:
        `(m, h, w, 3)` uint8 RGB.

    Raises:
        SourceError: as `read_frames`.
    """
    for taken in (_near(slots_s), None):  # where the stamps are not as even as they were taken to be, again with every frame
        out: NDArray[np.uint8] | None = None
        for slots, picture in pick_frames(_decode(path, threads, taken), slots_s):
            if picture is None:
                break
            image = colour(as_rgb(place(picture)))
            if out is None:
                out = np.empty((len(slots_s), *image.shape), np.uint8)
            out[slots] = image
        else:
            break
    assert out is not None  # _decode gives a frame or raises
    return out


def _near(slots_s: NDArray[np.float64]) -> Callable[[float, float, float, float], bool]:
    """Whether a frame will be the nearest of some slot, if the next one comes when it is expected; in doubt, yes."""

    def taken(before: float, stamp: float, after: float, end: float) -> bool:
        if after + (after - stamp) / 2 > end:  # the last frame is held for all slots behind it
            return bool(slots_s[-1] > (before + stamp) / 2)
        first, behind = np.searchsorted(slots_s, ((before + stamp) / 2 - _DOUBT_S, stamp + 0.6 * (after - stamp)))
        return bool(behind > first)

    return taken


def read_clip(path: str | Path, spec: ClipSpec, start_s: float = 0.0) -> NDArray[np.uint8]:
    """One clip: the lead-in and the window that begins at `start_s`.

    Args:
        path: a local video file.
        spec: the sampling contract.
        start_s: where the window begins, in seconds after the first frame; before the start of the video the first frame
            repeats, after its end the last.

    Returns:
        `spec.clip_shape` uint8 RGB.

    Raises:
        SourceError: as `read_frames`.
    """
    frames = read_slots(path, spec.slot_times(start_s), lambda frame: fit_frame(frame, spec.pixels, spec.fit))
    return frames.reshape(spec.clip_shape)


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


def fit_frame(frame: Frame, pixels: int, fit: Literal["crop", "squash"]) -> Frame:
    """A frame as a square: `crop` keeps the centre of the long side, `squash` bends the whole frame.

    Args:
        frame: `(H, W, 3)` uint8.
        pixels: side of the square.
        fit: the clip spec's `fit`.

    Returns:
        `(pixels, pixels, 3)` uint8; halved by area averaging while it can be, then bilinear.
    """
    if fit == "crop":
        height, width = frame.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        frame = frame[top : top + side, left : left + side]
    if frame.shape[:2] == (pixels, pixels):
        return np.ascontiguousarray(frame)
    # Area averaging is quick for a factor of two only, and below it bilinear skips no pixel: together a sixth of the time.
    while min(frame.shape[:2]) >= 2 * pixels:
        height, width = frame.shape[0] // 2, frame.shape[1] // 2
        frame = np.asarray(cv2.resize(frame[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    method = cv2.INTER_AREA if max(frame.shape[:2]) >= 2 * pixels else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (pixels, pixels), interpolation=method), np.uint8)


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
        raise SourceError(f"{where} is encrypted.", "Give a copy without digital rights management.")
    raise SourceError(f"{where} has no video stream that can be read.", "It is audio only, damaged, or not a video.")


def _is_encrypted(file: Path) -> bool:
    """Whether an MP4's head names the boxes of ISO/IEC 23001-7 common encryption."""
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
    return any(box in head for box in (b"encv", b"cenc", b"cbcs", b"pssh"))


def _credible_fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0.5 <= fps <= 480 else _GUESSED_FPS


def as_rgb(image: NDArray[np.uint8]) -> Frame:
    """A picture as OpenCV decodes it, `(H, W)` grey, `(H, W, 3)` BGR or `(H, W, 4)` BGRA, as `(H, W, 3)` RGB."""
    if image.ndim == 2 or image.shape[2] == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB), np.uint8)


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
        raise SourceError(f"{where} holds no video frame.", "It is cut short, or only the head of a stream.")
    rate = capture.get(cv2.CAP_PROP_FPS)  # as stated, credible or not: the header's count rests on it
    length = stated / rate if rate > 0 else 0.0
    if count < (1 - _MISSING_SHARE) * stated and seen_s < (1 - _MISSING_SHARE) * length - _MISSING_S:
        raise SourceError(f"{where} is damaged or cut short: {seen_s:.1f} of {length:.1f} s could be decoded.", "Copy or record it again.")
