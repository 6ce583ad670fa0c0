"""A calibration set on disk: the clips as JPEG frames in one file and an index with checksums, so that an export repeats without videos.

A window at 224 px is 10.8 MB of pixels and about 1 MB as JPEG of quality 95: what the videos themselves lost to compression is more.
Read one clip at a time; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gasmcast.calibration.choose_clips import Choice
from gasmcast.errors import UsageError
from gasmcast.files import atomic_path, sha256_of, write_atomic
from gasmcast.schema import Frozen
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import read_clip

__all__ = ["CalibrationSet", "ClipEntry", "Index", "write_set"]

FORMAT_VERSION = 1
QUALITY = 95
LEAST_CLIPS = 4


class ClipEntry(Frozen):
    """One clip: where its frames lie in `frames.bin`."""

    id: str
    label: int
    motion: float = Field(description="gray levels a frame step")
    length_s: float
    offset: int
    sizes: tuple[int, ...] = Field(description="bytes of each frame, lead-in first")


class Index(Frozen):
    """`index.json`."""

    format_version: int = FORMAT_VERSION
    spec: ClipSpec
    seed: int
    classes: int
    clips: tuple[ClipEntry, ...]
    segments: int = Field(
        description="segments stored: clips x segments a window; an export says how many it saw"
    )
    sha256: str = Field(description="of frames.bin")


class CalibrationSet:
    """A set that was opened; `clips()` decodes one clip at a time."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index

    @classmethod
    def open(cls, folder: Path, spec: ClipSpec | None = None) -> CalibrationSet:
        """Read and verify a set.

        Args:
            folder: what `gasmcast calibrate` wrote.
            spec: the clip spec that it must have been made for.

        Raises:
            UsageError: not a set, altered, too small, or made for another clip spec.
        """
        path = folder / "index.json"
        again = "Make it again with `gasmcast calibrate`."
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
                f"{path} has format version {index.format_version}, this gasmcast reads {FORMAT_VERSION}.",
                again,
            )
        frames = folder / "frames.bin"
        if not frames.is_file() or sha256_of(frames) != index.sha256:
            raise UsageError(f"{frames} is not the file that was written (checksum).", again)
        if not _is_whole(index, frames.stat().st_size):
            raise UsageError(f"{path} does not fit {frames}: it was altered.", again)
        if len(index.clips) < LEAST_CLIPS:
            raise UsageError(
                f"{folder} has {len(index.clips)} clips; ranges from fewer than {LEAST_CLIPS} mean nothing.",
                "Calibrate with more clips.",
            )
        if spec is not None and spec != index.spec:
            raise UsageError(
                f"{folder} was made for another clip spec ({_difference(index.spec, spec)}).",
                "Make one from this model's checkpoint.",
            )
        return cls(folder, index)

    def __len__(self) -> int:
        return len(self.index.clips)

    def clips(self, which: Sequence[int] | None = None) -> Iterator[NDArray[np.uint8]]:
        """Each clip, `spec.clip_shape` uint8 RGB; `which`: only these, in this order."""
        with (self.folder / "frames.bin").open("rb") as stream:
            for i in range(len(self)) if which is None else which:
                yield self._decode(stream, self.index.clips[i])

    def _decode(self, stream: IO[bytes], entry: ClipEntry) -> NDArray[np.uint8]:
        stream.seek(entry.offset)
        frames = []
        for size in entry.sizes:
            image = cv2.imdecode(np.frombuffer(stream.read(size), np.uint8), cv2.IMREAD_COLOR)
            if image is None or image.shape[:2] != (self.index.spec.pixels,) * 2:
                raise UsageError(
                    f"{self.folder / 'frames.bin'}: clip {entry.id} does not decode.",
                    "Make the set again with `gasmcast calibrate`.",
                )
            frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return np.asarray(frames, np.uint8).reshape(self.index.spec.clip_shape)


def _is_whole(index: Index, size: int) -> bool:
    """Whether the clips follow each other through a file of `size` bytes, each with all its frames."""
    count = math.prod(index.spec.clip_shape[:2])
    end = 0
    for entry in index.clips:
        if entry.offset != end or len(entry.sizes) != count or min(entry.sizes) < 1:
            return False
        end += sum(entry.sizes)
    return end == size


def write_set(
    folder: Path,
    choices: Sequence[Choice],
    spec: ClipSpec,
    seed: int,
    each: Callable[[int, int], None] | None = None,
) -> CalibrationSet:
    """Write the chosen clips; one clip is in memory at a time.

    Raises:
        UsageError: fewer than 4 clips.
        SourceError: a video that could be read before cannot be read now.
    """
    if len(choices) < LEAST_CLIPS:
        raise UsageError(
            f"{len(choices)} calibration clips are too few.",
            f"Give at least {LEAST_CLIPS} readable training clips.",
        )
    entries: list[ClipEntry] = []
    offset = 0
    digest = hashlib.sha256()
    with atomic_path(folder / "frames.bin") as draft, draft.open("wb") as stream:
        for done, choice in enumerate(choices, start=1):
            assert choice.sample.path is not None
            clip = read_clip(choice.sample.path, spec, spec.centered_start(choice.length_s))
            packed = [_jpeg(frame) for frame in clip.reshape(-1, *clip.shape[2:])]
            for data in packed:
                stream.write(data)
                digest.update(data)
            sizes = tuple(map(len, packed))
            entries.append(
                ClipEntry(
                    id=choice.sample.id, label=int(choice.sample.label or 0), motion=round(choice.motion, 3),
                    length_s=round(choice.length_s, 3), offset=offset, sizes=sizes,
                )
            )  # fmt: skip
            offset += sum(sizes)
            if each is not None:
                each(done, len(choices))
    index = Index(
        spec=spec, seed=seed, classes=len({e.label for e in entries}), clips=tuple(entries), segments=len(entries) * spec.segments,
        sha256=digest.hexdigest(),
    )  # fmt: skip
    write_atomic(folder / "index.json", index.model_dump_json(indent=1))
    return CalibrationSet(folder, index)


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    assert done  # OpenCV encodes every uint8 image of this kind
    return bytes(data)


def _difference(have: ClipSpec, want: ClipSpec) -> str:
    a: dict[str, Any] = have.model_dump()
    b: dict[str, Any] = want.model_dump()
    return ", ".join(f"{key} {a[key]}, not {b[key]}" for key in a if a[key] != b[key])
