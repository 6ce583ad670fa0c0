"""Read the clips of a data set: whole videos, or annotated spans of long ones.

Times count from the start of the clip. The frames of a span are those of a file that was cut there:
before its start the first frame repeats and after its end the last, unless the span has a stated
context, in which windows may show more of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gasmcast.data.sample import Sample
from gasmcast.errors import SourceError
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import fit_frame, read_slots
from gasmcast.video.reader import Frame, duration_s
from gasmcast.video.span import WHOLE, Span, decode_span

__all__ = ["clip_frames", "clip_length_s", "read_clip_slots", "read_sample"]


def clip_length_s(sample: Sample) -> float:
    """Return the length of a clip in seconds, without its context.

    Raises:
        SourceError: the video cannot be opened, or ends before the annotated span starts.
    """
    path = _path(sample)
    if sample.end_s is not None:
        return sample.end_s - sample.start_s
    length_s = duration_s(path) - sample.start_s
    if length_s <= 0 < sample.start_s:
        raise SourceError(
            f"{path} ends before the annotated span at {sample.start_s:g} s starts.",
            "Check that the times count in seconds and belong to this file.",
        )
    return length_s


def read_clip_slots(
    sample: Sample,
    slots_s: NDArray[np.float64],
    make: Callable[[Frame], Frame],
    *,
    threads: int | None = None,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Read the frames of a clip nearest the given times.

    Args:
        sample: the clip.
        slots_s: `(m,)` seconds after the start of the clip, ascending.
        make: converts a decoded frame to `(h, w, 3)` uint8 RGB of a fixed size.
        threads: number of decoder threads; None lets FFmpeg choose.
        out: `(m, h, w, 3)` uint8 to write to; None: new memory.

    Returns:
        `(m, h, w, 3)` uint8 RGB: `out`, if it was given.

    Raises:
        SourceError: the video cannot be read, or has no frame in the annotated span.
    """
    times_s = slots_s + sample.start_s if sample.start_s else slots_s
    return read_slots(_path(sample), times_s, make, threads=threads, out=out, span=_span(sample))


def read_sample(sample: Sample, spec: ClipSpec, start_s: float) -> NDArray[np.uint8]:
    """Read the window of a clip that starts at `start_s`, with its lead-in.

    Args:
        sample: the clip.
        spec: the sampling contract.
        start_s: start of the window in seconds after the start of the clip.

    Returns:
        `(1+S, F, H, W, 3)` uint8 RGB (`spec.clip_shape`).

    Raises:
        SourceError: the video cannot be read, or has no frame in the annotated span.
    """
    frames = read_clip_slots(
        sample,
        spec.slot_times(start_s),
        lambda frame: fit_frame(frame, spec.pixels, spec.fit),
    )
    return frames.reshape(spec.clip_shape)


def clip_frames(sample: Sample, threads: int | None = None) -> Iterator[tuple[float, Frame]]:
    """Yield the frames of a clip, context included, with seconds after the start of the clip.

    Raises:
        SourceError: the video cannot be read.
    """
    for stamp_s, picture in decode_span(_path(sample), threads, _span(sample)):
        assert picture is not None  # every frame is wanted
        yield stamp_s - sample.start_s, picture


def _span(sample: Sample) -> Span:
    """Return the part of the file that windows of the clip may show."""
    if not sample.is_segment:
        return WHOLE
    start_s = max(0.0, sample.start_s - sample.context_s)
    return Span(start_s) if sample.end_s is None else Span(start_s, sample.end_s + sample.context_s)


def _path(sample: Sample) -> Path:
    if sample.path is None:
        raise SourceError(
            f"Clip {sample.id} has no video file.",
            "Add the file, or remove the clip from the annotations.",
        )
    return sample.path
