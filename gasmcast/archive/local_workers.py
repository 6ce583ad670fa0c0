"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, NoReturn

from gasmcast.archive.work_pool import Died, Done, Happening, Ready, WorkFactory
from gasmcast.errors import GasmcastError, StageError
from gasmcast.no_telemetry import disable_telemetry

__all__ = ["LocalWorkers"]

_END_S = 2.0
_BROKEN = 70
"""Exit code of a worker whose work raised an unexpected error (EX_SOFTWARE)."""


class LocalWorkers:
    """Processes of this machine, each with a pipe of its own.

    They are spawned, not forked: engines have threads, and a pipe that a sibling inherited would
    hide the end of this process from its workers. A worker ends by itself once this process is
    gone.

    Args:
        factory: opens what a worker needs; called in each worker.
        slots: items that one worker works on at once, each in a thread.
    """

    def __init__(self, factory: WorkFactory, slots: int) -> None:
        self.slots = slots
        self._factory = factory
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, SpawnProcess] = {}
        self._pipes: dict[Connection, int] = {}
        self._added = 0

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [process.pid for process in self._processes.values() if process.pid]

    def add(self) -> int:
        """Start a process and return its number."""
        ours, theirs = self._context.Pipe()
        number = self._added
        self._added += 1
        process = self._context.Process(
            target=_work, args=(theirs, self._factory, self.slots), name=f"worker-{number}"
        )
        process.start()
        # Only the worker may hold this end, or its death would not close the pipe.
        theirs.close()

        self._processes[number], self._pipes[ours] = process, number
        return number

    def give(self, worker: int, item: Any) -> None:  # noqa: ANN401 - items are of any type
        """Send an item to a process; if it has just died, `wait` reports that."""
        pipe = next(pipe for pipe, number in self._pipes.items() if number == worker)
        try:
            pipe.send(item)
        except OSError:
            return

    def wait(self, timeout_s: float) -> list[Happening]:
        """Return what the processes sent, and which of them died.

        Raises:
            GasmcastError: an error that would end every worker.
        """
        happenings: list[Happening] = []
        for pipe in wait(list(self._pipes), timeout_s):
            assert isinstance(pipe, Connection)
            number = self._pipes[pipe]
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                happenings.append(self._bury(pipe, number))
                continue

            if isinstance(message, GasmcastError):
                raise message
            if message is None:
                happenings.append(Ready(number))
            else:
                happenings.append(Done(number, *message))
        return happenings

    def close(self) -> None:
        """End all processes: they finish nothing, but a file is written whole or not at all."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()
        self._pipes, self._processes = {}, {}

    def _bury(self, pipe: Connection, number: int) -> Died:
        """Forget a process that ended and return why it did."""
        process = self._processes.pop(number)
        del self._pipes[pipe]
        pipe.close()
        process.join(_END_S)

        code = process.exitcode
        if code is not None and code < 0:
            return Died(number, f"killed by {signal.Signals(-code).name}")
        return Died(number, f"ended with exit code {code}")


def _work(pipe: Connection, factory: WorkFactory, slots: int) -> None:
    """Run a worker process: open what it needs, then work on what the pipe brings."""
    disable_telemetry()
    # Ctrl-C reaches the whole group of processes; the main process decides what ends when.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        work = factory()
    except GasmcastError as error:
        pipe.send(error)
        return

    # Several threads answer through one pipe.
    sending = threading.Lock()

    def one(item: Any) -> None:  # noqa: ANN401 - items are of any type
        try:
            result = work(item)
        except StageError as error:
            # The engine worked before, so a new worker may be able to go on.
            _end(str(error))
        except GasmcastError as error:
            answer: Any = error
        except BaseException:  # noqa: BLE001 - a bug ends the worker, and its items are tried again
            _end(traceback.format_exc())
        else:
            answer = (item, result)
        # The main process may be gone; then nobody needs the answer.
        with sending:
            try:
                pipe.send(answer)
            except OSError:
                os._exit(0)

    pipe.send(None)
    with ThreadPoolExecutor(slots) as threads:
        while True:
            try:
                item = pipe.recv()
            except (EOFError, OSError):
                break
            threads.submit(one, item)

    # Engines may leave threads behind that would keep the process alive.
    os._exit(0)


def _end(text: str) -> NoReturn:
    """End a worker at once, with the reason on standard error."""
    print(text, file=sys.stderr, flush=True)
    os._exit(_BROKEN)
