"""Check that annotated spans lie within their videos; nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from gasmcast.data.failures import check_failures
from gasmcast.data.sample import Sample
from gasmcast.errors import SourceError, UsageError
from gasmcast.video.reader import duration_s

__all__ = ["BeyondEnd", "check_segment_ends", "segments_beyond_end"]

TOLERANCE_S = 0.5
"""Seconds that a span may end after its video: players round, and containers disagree."""
THREADS = 4


class BeyondEnd(NamedTuple):
    """Annotated span that ends after its video does."""

    sample: Sample
    length_s: float
    """Length of the video in seconds."""

    def __str__(self) -> str:
        end_s = self.sample.end_s if self.sample.end_s is not None else self.sample.start_s
        place = f"{self.sample.place}: " if self.sample.place else ""
        return (
            f"{place}the annotated span ends at {end_s:.2f} s, but {self.sample.video} at"
            f" {self.length_s:.2f} s"
        )


def segments_beyond_end(samples: Sequence[Sample]) -> list[BeyondEnd]:
    """Return the annotated spans that end after their video; unreadable videos are left out.

    Args:
        samples: clips; whole videos are not looked at.
    """
    segments = [sample for sample in samples if sample.is_segment and sample.video is not None]
    videos = list(dict.fromkeys(sample.video for sample in segments if sample.video is not None))
    with ThreadPoolExecutor(THREADS) as pool:
        lengths = dict(zip(videos, pool.map(_length_s, videos), strict=True))

    beyond = []
    for sample in segments:
        length_s = lengths.get(sample.video or "")
        last_s = sample.start_s if sample.end_s is None else sample.end_s
        if length_s is not None and last_s > length_s + TOLERANCE_S:
            beyond.append(BeyondEnd(sample, length_s))
    return beyond


def check_segment_ends(samples: Sequence[Sample]) -> None:
    """Check that at most 1 % of the annotated spans end after their video.

    Raises:
        UsageError: more do; the first is named with its row.
    """
    beyond = segments_beyond_end(samples)
    check_failures(
        [one.sample.id for one in beyond],
        len(samples),
        lambda _: UsageError(
            f"{beyond[0]} ({len(beyond)} of {len(samples)} clips are beyond the end).",
            "Check that the times count in seconds and belong to these files.",
        ),
    )


def _length_s(video: str) -> float | None:
    try:
        return duration_s(video)
    except SourceError:
        return None
