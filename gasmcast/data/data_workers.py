"""Processes that decode for a loader: how they start, and errors that say how they died."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
from torch.utils.data import DataLoader

from gasmcast.child_process import end_with_parent
from gasmcast.data.malloc import keep_memory
from gasmcast.errors import GasmcastError, MachineError

__all__ = ["iterate_loader", "start_worker", "worker_deaths"]

_SIGNAL_WAIT_S = 1.0
_WORKER_TRACEBACK = "Original Traceback"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - not a temporary file of ours
# Torch's words when a tensor cannot be put there, and the signal when it can but does not fit.
_SHORT_OF_SHARED_MEMORY = ("shm", "Bus error", "No space left on device", "shared memory")


class WorkerDiedError(MachineError):
    """A worker process ended unexpectedly."""


def iterate_loader(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the batches of a loader; an error in a worker keeps the one sentence that it was there.

    Raises:
        WorkerDiedError: a worker process died.
        SourceError: too many clips do not decode.
    """
    try:
        with worker_deaths():
            yield from _read_batches(loader)
    except GasmcastError as error:
        if _WORKER_TRACEBACK not in error.what:
            raise
        # The loader raises an error of the same class with the worker's whole traceback as its
        # text; the last line is the sentence.
        last = error.what.strip().splitlines()[-1]
        raise type(error)(last.partition(": ")[2]) from None


def _read_batches(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the batches of a loader; a broken connection to a worker counts as its death."""
    try:
        yield from loader
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        if not loader.num_workers or _WORKER_TRACEBACK in str(error):
            raise
        # The worker announced a batch and died before it was fetched. The loader raises its own
        # error, which says how, in the handler of the child's signal: wait for that here.
        time.sleep(_SIGNAL_WAIT_S)
        raise RuntimeError(f"DataLoader worker is gone: {type(error).__name__}") from None


@contextmanager
def worker_deaths(then: str = "") -> Iterator[None]:
    """Turn the loader's error of a dead worker into one sentence.

    Use it around code that reads batches, or as a decorator. The loader raises its error wherever
    the process happens to be when the worker ends, not only where it waits for a batch.

    Args:
        then: how to continue from here, as the end of a sentence; the outermost one is used.

    Raises:
        WorkerDiedError: a worker process died.
    """
    hint = "Often memory: use fewer workers, or 0 to see its own error"
    hint += f"; {then}." if then else "."
    try:
        yield
    except WorkerDiedError as error:
        raise WorkerDiedError(error.what, hint) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _describe_death(str(error), hint) from None


def _describe_death(text: str, hint: str) -> WorkerDiedError:
    """Return the error of a dead worker from the text of the loader's."""
    lines = text.strip().splitlines()
    memory = Path(SHARED_MEMORY)
    if memory.is_dir() and any(sign in text for sign in _SHORT_OF_SHARED_MEMORY):
        usage = shutil.disk_usage(memory)
        return WorkerDiedError(
            f"A data worker died: {memory}, through which workers pass clips, has"
            f" {usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MB free.",
            "Give the container more (`--shm-size=1g` or `--ipc=host`), or use --set"
            " train.workers=0.",
        )

    # Below a worker's traceback stands what happened; above it only that something did.
    last = lines[-1] if _WORKER_TRACEBACK in text else lines[0]
    return WorkerDiedError(f"A data worker died ({last.strip()[:200]}).", hint)


def start_worker(number: int) -> None:  # noqa: ARG001 - the signature that a loader calls
    """Set a worker process up: memory, threads and signals.

    Ctrl-C and a scheduler's SIGTERM reach the whole process group, but ending the run is the main
    process's task, so workers ignore both.
    """
    end_with_parent(os.getppid())
    keep_memory()
    # Not 1: that would end OpenCV's thread pool, which a forked process does not have, and wait
    # for it forever.
    cv2.setNumThreads(0)
    for number_of_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number_of_signal, signal.SIG_IGN)


@atexit.register
def _kill_workers() -> None:
    """Kill the workers that an error left running.

    They ignore the SIGTERM by which multiprocessing would end them, so it would wait forever.
    """
    # The loader's handler would print a traceback for each worker that ends now.
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()
