"""One measuring process per row, so that memory and threads belong to that row alone.

Protocol: the process reads a `Task` as one line of JSON from standard input, prepares, and answers
`{}`. For each further line it measures once ("a turn") and answers with a line of JSON. Rows can
therefore take turns: a disturbance of the machine then affects all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from gasmcast.child_process import child_environment, end_with_parent
from gasmcast.errors import GasmcastError, MachineError
from gasmcast.runtime.bench.task import Task, Turn, rss_mb

__all__ = ["BenchProcess", "measure_once", "serve"]


class BenchProcess:
    """A task in its own process, which measures one turn per request.

    Args:
        task: what to measure.
        module: Python module that serves it.
        timeout_s: limit for preparing, and for each turn.

    Raises:
        MachineError: preparing failed or took too long.
    """

    def __init__(
        self, task: Task, module: str = "gasmcast.runtime.bench.dispatch", timeout_s: float = 900.0
    ) -> None:
        self.task = task
        self._timeout_s = timeout_s
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process

        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=child_environment(),
        )

        # The first answer comes when the task is prepared.
        try:
            self._request(asdict(task))
        except BaseException:
            self.close()
            raise

    def turn(self) -> dict[str, Any]:
        """Measure once more.

        Raises:
            MachineError: the measurement failed or took too long.
        """
        return self._request("turn")

    def close(self) -> None:
        """End the process."""
        # The child has nothing to save.
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def __enter__(self) -> BenchProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, message: object) -> dict[str, Any]:
        """Send one line and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None

        # A pipe has no read timeout; killing the process ends the read.
        until = time.monotonic() + self._timeout_s
        timer = threading.Timer(self._timeout_s, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()

        if answer:
            result: dict[str, Any] = json.loads(answer)
            return result
        raise self._failure(timed_out=time.monotonic() >= until)

    def _failure(self, *, timed_out: bool) -> MachineError:
        """Return the error of a process that ended without an answer."""
        what = f"Measuring {self.task.kind} {self.task.precision}"
        if timed_out:
            return MachineError(
                f"{what} took longer than {self._timeout_s:.0f} s.", "Measure a smaller preset."
            )

        # The last line of a traceback names the exception.
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines() or ["no message"]
        return MachineError(f"{what} failed ({lines[-1]}).", "Run `gasmcast doctor`.")


def measure_once(task: Task, timeout_s: float = 900.0) -> dict[str, Any]:
    """Measure one turn of a task in its own process.

    Raises:
        MachineError: the measurement failed or took too long.
    """
    with BenchProcess(task, timeout_s=timeout_s) as process:
        return process.turn()


def serve(prepare: Callable[[Task], Turn]) -> None:
    """Run the measuring process: prepare the task of the first line, then one turn per line."""
    end_with_parent()
    # Libraries print to standard output too; only answers may reach the pipe.
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        fields = json.loads(sys.stdin.readline())
        turn = prepare(Task(**{**fields, "batches": tuple(fields["batches"])}))
        out.write("{}\n")
        out.flush()

        for _ in sys.stdin:
            result = turn()
            out.write(json.dumps({"rss_mb": rss_mb(), **result}) + "\n")
            out.flush()
    except GasmcastError as error:
        sys.exit(str(error))
