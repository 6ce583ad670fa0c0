"""Work of one worker: open a bundle, then write the record file of each video."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasmcast.archive.output_folder import OutputFolder
from gasmcast.archive.parquet import RecordFile
from gasmcast.archive.video_labeler import VideoLabeler
from gasmcast.errors import MachineError, SourceError, UsageError
from gasmcast.files import atomic_path, sha256_of
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import open_model
from gasmcast.terminal_text import printable
from gasmcast.video.container import printable as printable_path

__all__ = ["LabelTask", "Labeled", "write_failure"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@dataclass(frozen=True)
class Labeled:
    """Outcome of one video."""

    video_s: float
    decisions: int
    events: int
    reason: str = ""
    """Why it could not be read to its end; empty if it could."""


@dataclass(frozen=True)
class LabelTask:
    """Description of the work, which travels to the workers; `LabelTask()()` starts a worker."""

    bundle: Path
    engine: str
    precision: str
    threads: int | None
    batch: int
    """Segments in one encoder batch."""
    settings: Mapping[str, Any]
    out: Path
    facts: Mapping[str, Any]
    """What `archive.json` of the output folder holds."""

    def __call__(self) -> Callable[[str], Labeled]:
        """Open the bundle on the machine of the worker.

        Raises:
            UsageError: the bundle or the output folder is not the one of the main process.
            MachineError: the engine cannot be used there.
        """
        folder = OutputFolder(self.out)
        folder.check(self.facts)
        config = LiveConfig(**self.settings).model_copy(update={"batch": self.batch})
        model, description = open_model(
            self.bundle, self.engine, self.precision, self.threads, tempo=config.tempo
        )
        # The path may hold another bundle on another machine.
        if sha256_of(self.bundle / "manifest.json") != self.facts["bundle"]:
            raise UsageError(
                f"{self.bundle} is another bundle than that of the main process.",
                "Copy the same bundle to all machines.",
            )
        labeler = VideoLabeler(model, config)
        facts = {"bundle": str(self.facts["bundle"]), "engine": description}

        def label(video: str) -> Labeled:
            try:
                return _label(video, labeler, folder, facts)
            except OSError as error:
                # A full disk is no fault of the video, and the next one would meet it as well.
                if error.errno not in _FULL:
                    raise
                raise MachineError(
                    f"{self.out} cannot be written ({error.strerror}).",
                    "Free some space; the same command continues.",
                ) from None

        return label


def write_failure(folder: OutputFolder, video: str, reason: str) -> None:
    """Write the record file of a video that could not even be tried to its end."""
    path = folder.file(video, failed=True)
    with atomic_path(path) as draft, RecordFile(draft, printable_path(video), {}) as records:
        records.add_error(reason)


def _label(
    video: str, labeler: VideoLabeler, folder: OutputFolder, facts: Mapping[str, str]
) -> Labeled:
    """Write the record file of a video under a temporary name, and rename it when complete."""
    reason = ""
    video_s = 0.0
    final = folder.file(video)
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = final.with_name(f".{final.stem}.{socket.gethostname()}-{os.getpid()}.parquet")
    try:
        with RecordFile(draft, printable_path(video), facts) as records:
            try:
                video_s = labeler.label(video, records.add)
            except SourceError as error:
                reason = printable(str(error))
                records.add_error(reason)

        # On the disk before it gets its name: a power cut leaves no file that is cut short.
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(folder.file(video, failed=bool(reason)))
    finally:
        draft.unlink(missing_ok=True)
    return Labeled(video_s, records.decisions, records.events, reason)
