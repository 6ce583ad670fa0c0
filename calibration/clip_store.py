"""Store calibration clips on disk, so that an export can be repeated without the videos.

A set is a folder with the JPEG frames of all clips in one file (`frames.bin`) and an index with
checksums (`index.json`). A window at 224 px is 10.8 MB of pixels and about 1 MB as JPEG of quality
95, which loses less than the compression of the videos did. Clips are read one at a time, and
nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gasmcast.calibration.choose_clips import Choice
from gasmcast.data.clip_reader import read_sample
from gasmcast.errors import UsageError
from gasmcast.files import atomic_path, sha256_of, write_atomic
from gasmcast.progress import Progress, silent
from gasmcast.schema import Frozen
from gasmcast.spec import ClipSpec

__all__ = ["CalibrationSet", "ClipEntry", "Index", "write_set"]

FORMAT_VERSION = 1
QUALITY = 95
"""JPEG quality of the frames."""
MIN_CLIPS = 4
"""Smallest number of clips whose ranges mean anything."""


class ClipEntry(Frozen):
    """Entry of one clip: its figures, and the place of its frames in `frames.bin`."""

    id: str
    label: int
    motion: float = Field(description="mean change between frames in gray levels")
    length_s: float = Field(description="length of the video in seconds")
    offset: int = Field(description="position of the first frame in bytes")
    sizes: tuple[int, ...] = Field(description="size of each frame in bytes, lead-in first")


class Index(Frozen):
    """Content of `index.json`."""

    format_version: int = FORMAT_VERSION
    spec: ClipSpec
    seed: int
    classes: int
    clips: tuple[ClipEntry, ...]
    segments: int = Field(
        description="stored segments: clips x segments of a window; an export may use fewer"
    )
    sha256: str = Field(description="checksum of frames.bin")


class CalibrationSet:
    """Calibration set that is open for reading; `clips()` decodes one clip at a time."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index

    @classmethod
    def open(cls, folder: Path, spec: ClipSpec | None = None) -> CalibrationSet:
        """Open a set and verify its checksum and index.

        Args:
            folder: folder written by `gasmcast calibrate`.
            spec: the clip spec that the set must have been made for; any if None.

        Raises:
            UsageError: the folder is no set, was altered, has too few clips, or was made for
                another clip spec.
        """
        path = folder / "index.json"
        again = "Make it again with `gasmcast calibrate`."

        # The index says what the frames must be, so it is checked first.
        if not path.is_file():
            raise UsageError(
                f"{folder} is not a calibration set (no index.json).",
                "Make one with `gasmcast calibrate`.",
            )
        try:
            index = Index.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, ValidationError) as error:
            raise UsageError(f"{path} is damaged ({str(error).splitlines()[0]}).", again) from None
        if index.format_version != FORMAT_VERSION:
            raise UsageError(
                f"{path} has format version {index.format_version}, "
                f"but this gasmcast reads {FORMAT_VERSION}.",
                again,
            )

        frames = folder / "frames.bin"
        if not frames.is_file() or sha256_of(frames) != index.sha256:
            raise UsageError(f"{frames} is missing or was altered (checksum).", again)
        if not _is_whole(index, frames.stat().st_size):
            raise UsageError(f"{path} does not fit {frames}: it was altered.", again)

        if len(index.clips) < MIN_CLIPS:
            raise UsageError(
                f"{folder} has {len(index.clips)} clips, but ranges need at least {MIN_CLIPS}.",
                "Calibrate with more clips.",
            )
        if spec is not None and spec != index.spec:
            raise UsageError(
                f"{folder} was made for another clip spec ({_difference(index.spec, spec)}).",
                "Make one from this model's checkpoint.",
            )
        return cls(folder, index)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.index.clips)

    def clips(self, which: Sequence[int] | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield clips as `(1+S, F, H, W, 3)` uint8 RGB.

        Args:
            which: positions of the clips to yield, in this order; all clips if None.

        Raises:
            UsageError: a clip does not decode.
        """
        with (self.folder / "frames.bin").open("rb") as file:
            for i in range(len(self)) if which is None else which:
                yield self._decode(file, self.index.clips[i])

    def _decode(self, file: IO[bytes], entry: ClipEntry) -> NDArray[np.uint8]:
        # The checksum has passed, so only a defect of the writer or of OpenCV fails here.
        side = self.index.spec.pixels
        file.seek(entry.offset)
        frames = []
        for size in entry.sizes:
            image = cv2.imdecode(np.frombuffer(file.read(size), np.uint8), cv2.IMREAD_COLOR)
            if image is None or image.shape[:2] != (side, side):
                raise UsageError(
                    f"{self.folder / 'frames.bin'}: clip {entry.id} does not decode.",
                    "Make the set again with `gasmcast calibrate`.",
                )
            frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return np.asarray(frames, np.uint8).reshape(self.index.spec.clip_shape)


def write_set(
    folder: Path,
    choices: Sequence[Choice],
    spec: ClipSpec,
    seed: int,
    progress: Progress = silent,
) -> CalibrationSet:
    """Decode the chosen clips and store them; one clip is in memory at a time.

    Args:
        folder: folder to write.
        choices: from `choose_clips`.
        spec: the sampling contract.
        seed: seed of the choice, for the record.
        progress: reports clips stored.

    Returns:
        The set in `folder`.

    Raises:
        UsageError: there are fewer than 4 clips.
        SourceError: a video that could be read before can no longer be read.
    """
    if len(choices) < MIN_CLIPS:
        raise UsageError(
            f"{len(choices)} calibration clips are too few.",
            f"Give at least {MIN_CLIPS} readable training clips.",
        )
    entries: list[ClipEntry] = []
    offset = 0
    digest = hashlib.sha256()

    # The index is written last: a folder without one is not a set.
    with atomic_path(folder / "frames.bin") as draft, draft.open("wb") as file:
        for done, choice in enumerate(choices, start=1):
            frames = _encode(choice, spec)
            for frame in frames:
                file.write(frame)
                digest.update(frame)

            entry = ClipEntry(
                id=choice.sample.id,
                label=int(choice.sample.label or 0),
                motion=round(choice.motion, 3),
                length_s=round(choice.length_s, 3),
                offset=offset,
                sizes=tuple(map(len, frames)),
            )
            entries.append(entry)
            offset += sum(entry.sizes)
            progress("storing calibration clips", done, len(choices))

    index = Index(
        spec=spec,
        seed=seed,
        classes=len({entry.label for entry in entries}),
        clips=tuple(entries),
        segments=len(entries) * spec.segments,
        sha256=digest.hexdigest(),
    )
    write_atomic(folder / "index.json", index.model_dump_json(indent=1))
    return CalibrationSet(folder, index)


def _encode(choice: Choice, spec: ClipSpec) -> list[bytes]:
    """Return the frames of a clip as JPEG files, lead-in first."""
    clip = read_sample(choice.sample, spec, spec.centered_start(choice.length_s))
    return [_jpeg(frame) for frame in clip.reshape(-1, *clip.shape[2:])]


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert encoded  # OpenCV encodes every uint8 image of this kind
    return bytes(data)


def _is_whole(index: Index, size: int) -> bool:
    """Check that the clips fill a file of `size` bytes in order, each with all its frames."""
    # Entries without gaps and overlaps are the only ones that `write_set` makes.
    frames_per_clip = math.prod(index.spec.clip_shape[:2])
    end = 0
    for entry in index.clips:
        complete = len(entry.sizes) == frames_per_clip and min(entry.sizes) >= 1
        if entry.offset != end or not complete:
            return False
        end += sum(entry.sizes)
    return end == size


def _difference(stored: ClipSpec, wanted: ClipSpec) -> str:
    a: dict[str, Any] = stored.model_dump()
    b: dict[str, Any] = wanted.model_dump()
    return ", ".join(f"{key} {a[key]}, not {b[key]}" for key in a if a[key] != b[key])
