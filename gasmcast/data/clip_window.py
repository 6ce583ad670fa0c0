"""Fit the window to the length of the clips of a set, where an action fills its clip."""

from __future__ import annotations

from collections.abc import Sequence

from gasmcast.data.clip_reader import clip_length_s
from gasmcast.data.sample import Sample
from gasmcast.spec import ClipSpec

__all__ = ["fit_tempo", "fit_window"]

SHORTEST_SEGMENT_S = 0.125  # 64 frames per second at 8 motion frames
LONGEST_SEGMENT_S = 1.0
SLOWEST, FASTEST = 0.25, 4.0
SAME_TEMPO = 1.25
"""Clips up to this factor longer or shorter are of the same tempo: it costs 2 points at most."""


def fit_window(spec: ClipSpec, samples: Sequence[Sample]) -> ClipSpec:
    """Return the spec with segments so long that the window covers three quarters of the clips.

    A segment lasts between 0.125 s and 1 s. Clips of unknown duration are ignored.

    Args:
        spec: the clip spec whose `segment_s` is replaced.
        samples: the training clips.
    """
    length_s = _upper_quartile_s(samples)
    if not length_s:
        return spec
    segment_s = length_s / spec.segments
    segment_s = round(min(LONGEST_SEGMENT_S, max(SHORTEST_SEGMENT_S, segment_s)), 3)
    return spec.model_copy(update={"segment_s": segment_s})


def fit_tempo(spec: ClipSpec, samples: Sequence[Sample]) -> float:
    """Return how many times as fast the clips are as those that the window was fitted to.

    It is 1 where the difference is small, or where the window has a limit of `fit_window` and so
    was shorter or longer than the training clips.

    Args:
        spec: clip spec from `fit_window`.
        samples: clips of another set.
    """
    length_s = _upper_quartile_s(samples)
    tempo = spec.window_s / length_s if length_s else 1.0
    limit_s = LONGEST_SEGMENT_S if tempo < 1 else SHORTEST_SEGMENT_S
    if 1 / SAME_TEMPO <= tempo <= SAME_TEMPO or spec.segment_s == limit_s:
        return 1.0
    return round(min(FASTEST, max(SLOWEST, tempo)), 2)


def _upper_quartile_s(samples: Sequence[Sample]) -> float:
    """Return the upper quartile of the durations in seconds; 0 if none is known."""
    # Durations come from the headers of the videos; nothing is decoded.
    durations_s = []
    for sample in samples:
        duration = 0.0 if sample.path is None else clip_length_s(sample)
        if duration > 0:
            durations_s.append(duration)
    durations_s.sort()
    return durations_s[3 * len(durations_s) // 4] if durations_s else 0.0
