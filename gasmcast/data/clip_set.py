"""What training and evaluation ask of a set of clips, and its batches."""

from __future__ import annotations

import atexit
import hashlib
import json
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import cv2
from torch.utils.data import DataLoader

from gasmcast.data.malloc import keep_memory
from gasmcast.errors import GasmcastError, MachineError

__all__ = [
    "ClipSet",
    "TrainingClips",
    "WorkerDiedError",
    "batches",
    "set_sha",
    "steady_worker",
    "worker_deaths",
]

_MOMENT_S = 1.0


class WorkerDiedError(MachineError):
    """A process that decodes is gone."""


class ClipSet(Protocol):
    """Clips by number: `(clip uint8 (1+S, F, H, W, 3), label, index)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, int, int]: ...


class TrainingClips(ClipSet, Protocol):
    """A set that also knows all labels without decoding, the names of its clips, and draws anew each epoch."""

    @property
    def labels(self) -> Sequence[int]:
        """The class of each clip."""

    @property
    def ids(self) -> Sequence[str]:
        """The name of each clip."""

    def set_epoch(self, epoch: int) -> None:
        """Draw anew, in running workers too: the augmentation of a clip depends on seed, epoch and clip alone."""


def set_sha(*sets: Any) -> str:  # noqa: ANN401  # sets of clips that know their ids and labels; None for one that is not there
    """SHA-256 of the names and classes of all clips, in their order."""
    digest = hashlib.sha256()
    for clips in sets:
        rows = (
            []
            if clips is None
            else [[name, int(label)] for name, label in zip(clips.ids, clips.labels, strict=True)]
        )
        digest.update(json.dumps(rows).encode())
    return digest.hexdigest()


def batches(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader; what goes wrong in a worker becomes the sentence that it was there.

    Raises:
        WorkerDiedError: a worker process died.
        SourceError: too many clips do not decode.
    """
    try:
        with worker_deaths():
            try:
                yield from loader
            except (ConnectionError, EOFError, FileNotFoundError) as error:
                if not loader.num_workers or "Original Traceback" in str(error):
                    raise
                # It had said that a batch is there, and died before it was fetched. The loader's own error, which says how, comes with the
                # signal of that, wherever the process is by then: let it be here.
                time.sleep(_MOMENT_S)
                raise RuntimeError(f"DataLoader worker is gone: {type(error).__name__}") from None
    except GasmcastError as error:
        if "Original Traceback" not in error.what:
            raise
        # The loader made a new error of the same kind, of the worker's whole traceback; its last line is the sentence.
        last = error.what.strip().splitlines()[-1]
        raise type(error)(last.partition(": ")[2]) from None


@contextmanager
def worker_deaths(then: str = "") -> Iterator[None]:
    """Around what asks a loader for batches, or over such a function: that a worker is gone becomes a sentence.

    The loader raises its error wherever the process happens to be when the worker ends, not only where it waits for a batch.

    Args:
        then: how to go on from here, as the end of a sentence; the outermost one is told.

    Raises:
        WorkerDiedError: a worker process died.
    """
    hint = "Often memory: use fewer workers, or 0 to see its own error" + (
        f"; {then}." if then else "."
    )
    try:
        yield
    except WorkerDiedError as error:
        raise WorkerDiedError(error.what, hint) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerDiedError(f"A data worker died ({str(error).splitlines()[0]}).", hint) from None


def steady_worker(number: int) -> None:  # noqa: ARG001  # the signature that a loader calls
    """Starts a worker: it leaves signals to the main process and threads to the other workers, and keeps the memory that it frees.

    Ctrl-C and a scheduler's SIGTERM reach the whole process group, but ending the run is the main process's to do.
    """
    keep_memory()
    cv2.setNumThreads(
        0
    )  # not 1: that would end the threads of OpenCV, which a forked process does not have, and wait for ever
    for watched in (signal.SIGINT, signal.SIGTERM):
        signal.signal(watched, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """Workers that an error left behind ignore the SIGTERM by which multiprocessing would end them, and it would wait for ever."""
    for worker in multiprocessing.active_children():
        worker.kill()
