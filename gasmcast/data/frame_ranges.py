"""Turn annotated spans in frames into seconds, by the timestamps of the video files themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.clip_index import Clip, ClipIndex, FrameRange
from gasmcast.data.index_check import check_index
from gasmcast.errors import UsageError
from gasmcast.video.frame_times import frame_times_s

__all__ = ["with_seconds"]

_GUESSED_FPS = 25.0
_FPS_TOLERANCE = 0.02
"""Share by which the annotation's frame rate may differ from the file's."""


def with_seconds(index: ClipIndex) -> ClipIndex:
    """Return the index with all annotated spans in seconds.

    Each video that is annotated in frames is scanned once, without decoding it. Clips whose video
    is missing get approximate times.

    Raises:
        UsageError: the frame rate or the number of frames of an annotation contradicts the file, or
            a range is empty or beyond the file's end; file and row are named.
        SourceError: a video cannot be opened.
    """
    if not index.frame_ranges:
        return index
    times: dict[str, NDArray[np.float64]] = {}
    clips = list(index.clips)
    for position, frames in index.frame_ranges.items():
        clip = clips[position]
        # A missing video is reported later; until then its spans must differ.
        if not clip.exists:
            fps = frames.fps or frames.default_fps or _GUESSED_FPS
            start_s, end_s = max(0, frames.first) / fps, max(1, frames.stop) / fps
            clips[position] = clip._replace(start_s=start_s, end_s=end_s)
            continue

        if clip.video not in times:
            times[clip.video] = frame_times_s(clip.video)
        start_s, end_s = _seconds(frames, times[clip.video], clip, index.place(clip))
        clips[position] = clip._replace(start_s=start_s, end_s=end_s)
    return check_index(replace(index, clips=clips, frame_ranges={}))


def _seconds(
    frames: FrameRange, times: NDArray[np.float64], clip: Clip, place: str
) -> tuple[float, float]:
    """Return start and end of a range: the end is the time of the frame after its last one."""
    count = len(times)
    step_s = float(times[-1]) / (count - 1) if count > 1 else 1.0
    fps = 1.0 / step_s

    # An annotation at another rate would name other moments.
    if frames.fps is None and frames.default_fps is not None and _differ(frames.default_fps, fps):
        raise UsageError(
            f"{place}: the annotation does not state its frame rate. The default of Label Studio is"
            f" {frames.default_fps:.2f} frames per second, but {clip.video} has {fps:.2f}.",
            f'If frameRate of the tag Video was {fps:.6g}, put "fps": {fps:.6g} into `data` of the'
            " task. Otherwise set frameRate to it and annotate again.",
        )
    if frames.fps is not None and _differ(frames.fps, fps):
        raise UsageError(
            f"{place}: the annotation counts {frames.fps:.2f} frames per second, but {clip.video}"
            f" has {fps:.2f}.",
            "Annotate at the file's rate (Label Studio: frameRate of the tag Video), or give times"
            " in seconds.",
        )

    # Nor may it count frames that the file does not have.
    if frames.frames is not None and frames.frames > count + max(2, _FPS_TOLERANCE * count):
        raise UsageError(
            f"{place}: the annotation has {frames.frames} frames, but {clip.video} has {count}.",
            "Annotate the same file, at its own frame rate.",
        )
    if not 0 <= frames.first < frames.stop:
        raise UsageError(
            f"{place}: the frames {frames.first} to {frames.stop - 1} of {clip.video} are not a"
            " range.",
            "Give a first frame of at least 0, and a last one that is not before it.",
        )
    if frames.first >= count or frames.stop > count + 2:
        raise UsageError(
            f"{place}: the annotated span ends at frame {frames.stop - 1}, but {clip.video} has"
            f" {count} frames.",
            "Check that the annotation belongs to this file.",
        )
    end_s = float(times[frames.stop]) if frames.stop < count else float(times[-1]) + step_s
    return float(times[frames.first]), end_s


def _differ(annotation_fps: float, file_fps: float) -> bool:
    return abs(annotation_fps - file_fps) > _FPS_TOLERANCE * file_fps
