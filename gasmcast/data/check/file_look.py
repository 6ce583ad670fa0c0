"""Look at the files of a data set: headers of all videos, and small pictures of the clips."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from gasmcast.data.check.thumbnails import ClipPictures, clip_pictures
from gasmcast.data.clip_index import ClipIndex
from gasmcast.data.sample import Sample
from gasmcast.errors import SourceError
from gasmcast.progress import Progress
from gasmcast.video.file_facts import FileFacts, file_facts

__all__ = ["FileLook", "clip_seconds", "look_at_files"]

THREADS = 2
MAX_PICTURES = 2000
"""Clips whose pictures are compared; of more, a seeded choice."""


@dataclass
class FileLook:
    """Facts read from the files of a set."""

    facts: dict[str, FileFacts] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Error by video."""
    pictures: dict[int, ClipPictures] = field(default_factory=dict)
    """Pictures by position of the clip."""


def look_at_files(index: ClipIndex, samples: Sequence[Sample], progress: Progress) -> FileLook:
    """Read the headers of all videos, and pictures of the clips."""
    looked = FileLook()
    videos = list(dict.fromkeys(clip.video for clip in index.clips if clip.exists))

    def facts(video: str) -> FileFacts | str:
        try:
            return file_facts(video)
        except SourceError as error:
            return error.what

    def pictures(number: int) -> ClipPictures | str:
        try:
            return clip_pictures(samples[number])
        except SourceError as error:
            return error.what

    with ThreadPoolExecutor(THREADS) as pool:
        for done, (video, found) in enumerate(zip(videos, pool.map(facts, videos), strict=True), 1):
            if isinstance(found, str):
                looked.unreadable[video] = found
            else:
                looked.facts[video] = found
            progress("reading videos", done, len(videos))

        readable = [i for i, clip in enumerate(index.clips) if clip.video in looked.facts]
        order = np.random.default_rng(0).permutation(len(readable))[:MAX_PICTURES]
        numbers = [readable[i] for i in sorted(order)]
        found_pictures = zip(numbers, pool.map(pictures, numbers), strict=True)
        for done, (number, shown) in enumerate(found_pictures, 1):
            if isinstance(shown, str):
                looked.unreadable[index.clips[number].video] = shown
            else:
                looked.pictures[number] = shown
            progress("looking at clips", done, len(numbers))
    return looked


def clip_seconds(sample: Sample, looked: FileLook) -> float:
    """Return the duration of a clip, NaN if its file cannot be read."""
    facts = looked.facts.get(sample.video or "")
    if facts is None:
        return float("nan")
    end_s = facts.seconds if sample.end_s is None else min(sample.end_s, facts.seconds)
    return max(0.0, end_s - sample.start_s)
