"""Measuring the runtime: one row of `gasmcast bench live` a process, so that memory and threads are that row's own.

`python -m gasmcast.runtime.bench.process` reads a `Task` as a line of JSON, prepares, and measures once ("a turn") for each further line, so that
rows can take turns: what disturbs the machine for a minute then disturbs all of them. No torch in here.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GasmcastError, MachineError
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import Model, open_model

__all__ = ["Apart", "Task", "measure_apart", "noise", "rss_mb", "serve", "spans"]

_TURN_S = 0.5  # quick work is repeated for so long in a turn


@dataclass(frozen=True)
class Task:
    """What to measure."""

    kind: Literal["naive", "complete", "cached", "cameras", "peak", "profile"]
    bundle: str
    precision: str
    engine: str = "auto"
    threads: int | None = None
    batches: tuple[int, ...] = (1,)
    """`cached`: cameras that come at once; the encoder and the head take them in batches as the pipeline does."""
    cameras: int = 1
    seconds: float = 8.0
    """`cameras`: how long is measured once all windows are full, in the cameras' own time."""
    slower: float = 1.0
    """`cameras`: they play so many times slower than real time, for machines that could not keep up."""


class Apart:
    """A task in a process of its own, which measures a turn whenever it is asked to.

    Args:
        task: what to measure.
        module: the module that serves it.
        timeout_s: for preparing, and for each turn.
    """

    def __init__(
        self, task: Task, module: str = "gasmcast.runtime.bench.process", timeout_s: float = 900.0
    ) -> None:
        self.task = task
        self._timeout_s = timeout_s
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        command = [sys.executable, "-m", module]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        try:
            self._ask(asdict(task))
        except BaseException:
            self.close()
            raise

    def turn(self) -> dict[str, Any]:
        """Measure once more.

        Raises:
            MachineError: it failed, or took too long.
        """
        return self._ask("turn")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, message: object) -> dict[str, Any]:
        """Send a line, take a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
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
        what = f"Measuring {self.task.kind} {self.task.precision}"
        if time.monotonic() >= until:
            raise MachineError(
                f"{what} took longer than {self._timeout_s:.0f} s.", "Measure a smaller preset."
            )
        self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
        raise MachineError(f"{what} failed ({last}).", "Run `gasmcast doctor`.")


def measure_apart(task: Task, timeout_s: float = 900.0) -> dict[str, Any]:
    """One turn in a process of its own.

    Raises:
        MachineError: it failed, or took too long.
    """
    with Apart(task, timeout_s=timeout_s) as apart:
        return apart.turn()


def serve(prepare: Callable[[Task], Callable[[], dict[str, Any]]]) -> None:
    """The process's side: prepare the task of the first line, take a turn for each line after it."""
    out, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    try:
        tree = json.loads(sys.stdin.readline())
        turn = prepare(Task(**{**tree, "batches": tuple(tree["batches"])}))
        out.write("{}\n")
        out.flush()
        for _ in sys.stdin:
            result = turn()
            out.write(json.dumps({"rss_mb": rss_mb(), **result}) + "\n")
            out.flush()
    except GasmcastError as error:
        sys.exit(str(error))


def spans(work: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Milliseconds of wall clock (and of processor time over all threads, as `NAME_cpu`) of each piece of work, one after another, often.

    Processor time is what the work costs even where others use the machine at the same time.
    """
    found: dict[str, list[float]] = {f"{name}{kind}": [] for name in work for kind in ("", "_cpu")}
    until = time.perf_counter() + _TURN_S
    while True:
        for name, step in work.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            found[name].append(1000.0 * (time.perf_counter() - wall))
            found[f"{name}_cpu"].append(1000.0 * (time.process_time() - cpu))
        if time.perf_counter() >= until:
            return found


def noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def rss_mb() -> float:
    """Resident memory of this process, megabytes; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return round(
        next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        / 1024,
        1,
    )


def _complete(task: Task) -> Callable[[], dict[str, Any]]:
    """The whole window recomputed at every decision."""
    bundle = Bundle.open(task.bundle, verify=False)
    engine = bundle.engine("complete", task.precision, task.engine, task.threads)
    clip = noise((1, *bundle.manifest.spec.clip_shape))
    engine.run({"clip": clip})
    return lambda: {
        **spans({"ms": lambda: engine.run({"clip": clip})}),
        "engine": engine.describe(),
    }


def _cached(task: Task) -> Callable[[], dict[str, Any]]:
    """One segment and one window of each of some cameras."""
    model, line = open_model(
        Path(task.bundle), task.engine, task.precision, task.threads, verify=False
    )
    work: dict[str, Callable[[], object]] = {}
    for cameras in task.batches:
        work |= {
            f"encode_{cameras}": _encode(model, cameras),
            f"fuse_{cameras}": _fuse(model, cameras),
        }
    for step in work.values():
        step()
    return lambda: {**spans(work), "engine": line}


def _encode(model: Model, cameras: int) -> Callable[[], object]:
    pairs = [noise((size, *model.spec.pair_shape)) for size in _batches(cameras)]
    return lambda: [model.encoder.run({"segments": batch}) for batch in pairs]


def _fuse(model: Model, cameras: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    windows = [
        {
            name: rng.standard_normal((size, *map(int, port.shape[1:])), np.float32)
            for name, port in model.head.inputs.items()
        }  # type: ignore[arg-type] # only the batch is None
        for size in _batches(cameras)
    ]
    return lambda: [model.head.run(window) for window in windows]


def _batches(cameras: int) -> list[int]:
    """How the pipeline divides segments that are ready at once."""
    most = LiveConfig().batch
    return [min(most, cameras - begun) for begun in range(0, cameras, most)]


def _prepare(task: Task) -> Callable[[], dict[str, Any]]:
    from gasmcast.runtime.bench import cameras as bench_cameras  # noqa: PLC0415 - they measure with what is in here
    from gasmcast.runtime.bench import peak as bench_peak  # noqa: PLC0415 - they measure with what is in here

    steps = {
        "complete": _complete,
        "cached": _cached,
        "cameras": bench_cameras.prepare,
        "peak": bench_peak.prepare_peak,
        "profile": bench_peak.prepare_profile,
    }
    return steps[task.kind](task)


if __name__ == "__main__":
    serve(_prepare)
