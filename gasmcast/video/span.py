"""Decode a part of a video file, entered at a key frame, as if the rest did not exist."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gasmcast.video.reader import Frame, FrameTimes, decode
from gasmcast.video.stamp_clock import UnreliableSeekError

__all__ = ["WHOLE", "Span", "decode_span"]

_TOLERANCE_S = 1e-3  # annotations are rounded to milliseconds
_SHORT_S = 2.0  # a start this early is reached sooner by decoding than by a jump
_MARGINS_S = (0.0, 2.0, 10.0)  # how much earlier to enter where key frames are reordered


class Span(NamedTuple):
    """Part of a video file, in seconds after its first frame."""

    start_s: float = 0.0
    """Time of its first frame or just before it."""
    end_s: float = math.inf
    """Time of the first frame that is not part of it."""

    def holds(self, stamp_s: float) -> bool:
        """Return whether a frame belongs to the part."""
        return self.start_s - _TOLERANCE_S <= stamp_s < self.end_s - _TOLERANCE_S


WHOLE = Span()
"""All of a file."""


def decode_span(
    path: str | Path,
    threads: int | None,
    span: Span,
    wanted: Callable[[FrameTimes], bool] | None = None,
) -> Iterator[tuple[float, Frame | None]]:
    """Yield timestamps and pictures of a part of a video, as `decode` does of the whole.

    Only what lies between the last key frame before the part and its end is decoded, where the
    container has an index (MP4, MOV, Matroska, WebM). Others are decoded from their start.

    Args:
        path: a local file.
        threads: decoder threads; None lets FFmpeg choose.
        span: the part; its frames have the timestamps that they have in the whole file.
        wanted: returns whether the picture of a frame is needed; None: all are.

    Raises:
        SourceError: as `read_frames`.
    """
    if span == WHOLE:
        yield from decode(path, threads, wanted)
        return

    # Enter earlier when the key frame that was found is shown too late; at last, from the start.
    entries_s = [span.start_s - margin for margin in _MARGINS_S]
    entries_s = [entry for entry in entries_s if entry > _SHORT_S]
    done_s = -math.inf
    for entry_s in (*entries_s, 0.0):
        frames = decode(path, threads, _inside(span, wanted), entry_s)
        try:
            for stamp_s, picture in frames:
                if stamp_s >= span.end_s - _TOLERANCE_S:
                    return
                if span.holds(stamp_s) and stamp_s > done_s:
                    done_s = stamp_s
                    yield stamp_s, picture
        except UnreliableSeekError:
            continue
        return


def _inside(
    span: Span, wanted: Callable[[FrameTimes], bool] | None
) -> Callable[[FrameTimes], bool]:
    """Return the predicate of the frames that are wanted, for a file that is only the span."""

    def is_wanted(times: FrameTimes) -> bool:
        if not span.holds(times.stamp_s):
            return False
        if wanted is None:
            return True
        previous_s = times.previous_s if span.holds(times.previous_s) else -math.inf
        end_s = min(times.end_s, span.end_s) if times.end_s else 0.0
        return wanted(times._replace(previous_s=previous_s, end_s=end_s))

    return is_wanted
