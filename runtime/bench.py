"""Measuring the runtime: one row of `gasmcast bench live` a process, so that memory and threads are that row's own.

`python -m gasmcast.runtime.bench` reads a `Task` as JSON on standard input and prints what it measured as JSON. No torch in here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import GasmcastError, MachineError
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.config import LiveConfig
from gasmcast.runtime.engines.openvino import the_core
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.session import open_model
from gasmcast.runtime.stages import Model

__all__ = ["Task", "measure_apart"]


@dataclass(frozen=True)
class Task:
    """What to measure."""

    kind: Literal["complete", "cached", "cameras", "peak"]
    bundle: str
    precision: str
    engine: str = "auto"
    threads: int | None = None
    repeats: int = 5
    batches: tuple[int, ...] = (1,)
    cameras: int = 1
    seconds: float = 8.0


def measure_apart(task: Task, timeout_s: float = 900.0) -> dict[str, Any]:
    """Measure in a process of its own.

    Raises:
        MachineError: it failed, or took too long.
    """
    command = [sys.executable, "-m", "gasmcast.runtime.bench"]
    try:
        done = subprocess.run(command, input=json.dumps(asdict(task)), capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise MachineError(f"Measuring {task.kind} {task.precision} took longer than {timeout_s:.0f} s.", "Measure fewer rows.") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MachineError(f"Measuring {task.kind} {task.precision} failed ({last}).", "Run `gasmcast doctor`.")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure the task on standard input."""
    tree = json.load(sys.stdin)
    task = Task(**{**tree, "batches": tuple(tree["batches"])})
    steps = {"complete": _complete, "cached": _cached, "cameras": _cameras, "peak": _peak}
    try:
        result = {**steps[task.kind](task), "rss_mb": _rss_mb()}
    except GasmcastError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(result) + "\n")


def _complete(task: Task) -> dict[str, Any]:
    """The whole window recomputed at every decision."""
    bundle = Bundle.open(task.bundle, verify=False)
    engine = bundle.engine("complete", task.precision, task.engine, task.threads)
    clip = _noise((1, *bundle.manifest.spec.clip_shape))
    cost = _cost(lambda: engine.run({"clip": clip}), task.repeats)
    return {"ms": cost.ms, "cpu_ms": cost.cpu_ms, "engine": engine.describe()}


def _cached(task: Task) -> dict[str, Any]:
    """One segment and one window, alone and in batches; per camera."""
    model, line = open_model(Path(task.bundle), task.engine, task.precision, task.threads, verify=False)
    rows = {}
    for batch in task.batches:
        pairs = _noise((batch, *model.spec.pair_shape))
        encoded = model.encoder.run({"segments": pairs})
        window = {name: np.repeat(value[:, None], model.spec.segments, axis=1) for name, value in encoded.items()}
        encode = _cost(partial(model.encoder.run, {"segments": pairs}), task.repeats)
        fuse = _cost(partial(model.head.run, window), task.repeats)
        rows[batch] = {
            "encode_ms": encode.ms,
            "fuse_ms": fuse.ms,
            "ms_per_camera": round((encode.ms + fuse.ms) / batch, 3),
            "cpu_ms_per_camera": round((encode.cpu_ms + fuse.cpu_ms) / batch, 3),
        }
    return {"batches": rows, "engine": line}


def _cameras(task: Task) -> dict[str, Any]:
    """Synthetic cameras in real time through the pipeline, with nothing that gives way."""
    model, _ = open_model(Path(task.bundle), task.engine, task.precision, task.threads, verify=False)
    spec = model.spec
    _warm(model, task.cameras)
    pipeline = Pipeline(model, LiveConfig(degrade=False, stats_s=3600.0), lambda _: None)
    pipeline.start()
    stop = threading.Event()
    threads = []
    fps = max(spec.fps, 15.0)
    for number in range(task.cameras):
        lane = pipeline.add(f"camera{number}", live=True)
        offset = number * spec.segment_s / task.cameras  # cameras are not in step
        threads.append(threading.Thread(target=_play, args=(lane.on_frame, fps, offset, stop), daemon=True))
    for thread in threads:
        thread.start()
    settle = spec.window_s + 1.0
    stop.wait(settle)
    before = {name: (lane.drops["late"], lane.decisions) for name, lane in pipeline.lanes.items()}
    pipeline.stats()
    stop.wait(task.seconds)
    stats = pipeline.stats()
    stop.set()
    late = sum(lane.drops["late"] - before[name][0] for name, lane in pipeline.lanes.items())
    decisions = [lane.decisions - before[name][1] for name, lane in pipeline.lanes.items()]
    for thread in threads:
        thread.join(2.0)
    rss = _rss_mb()
    pipeline.stop()
    due = task.seconds / spec.segment_s
    return {
        "late": late,
        "decisions": sum(decisions),
        "kept_up": late == 0 and min(decisions) >= due - 2,
        "latency_ms": stats.stages_ms,
        "busy": stats.busy,
        "rss_running_mb": rss,
        "seconds": task.seconds,
    }


def _peak(task: Task) -> dict[str, Any]:
    """The machine's best multiply-adds a second in a large matrix product, FP32 and INT8, by OpenVINO."""
    import openvino as ov  # noqa: PLC0415 - only this measurement builds a graph
    from openvino import opset13 as ops  # noqa: PLC0415

    rows, inner, columns = 1568, 1024, 4096
    rng = np.random.default_rng(0)
    found = {}
    for name in ("fp32", "int8"):
        x = ops.parameter([rows, inner], np.float32)
        weight = ops.constant(rng.normal(0, 0.02, (columns, inner)).astype(np.float32))
        left, right = x, weight
        if name == "int8":
            limits = [ops.constant(np.float32(v)) for v in (-4.0, 4.0 * 127 / 128)]
            left = ops.fake_quantize(x, limits[0], limits[1], limits[0], limits[1], 256)
            tops = [ops.constant(np.full((columns, 1), v, np.float32)) for v in (-0.1, 0.1)]
            right = ops.fake_quantize(weight, tops[0], tops[1], tops[0], tops[1], 255)
        model = ov.Model([ops.relu(ops.matmul(left, right, False, True))], [x])
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if task.threads:
            settings["INFERENCE_NUM_THREADS"] = task.threads
        request = the_core().compile_model(model, "CPU", settings).create_infer_request()
        feed = rng.normal(0, 1, (rows, inner)).astype(np.float32)
        ms = _fastest_ms(partial(request.infer, [feed], share_inputs=True, share_outputs=True), 10)
        found[name] = rows * inner * columns / (ms / 1000.0)
    return {"macs_per_s": found}


def _play(take: Callable[[Frame], None], fps: float, offset_s: float, stop: threading.Event) -> None:
    """A camera of 320 x 240 that moves, on time."""
    frames = list(_frames())
    start = time.monotonic() + offset_s
    count = 0
    while not stop.is_set():
        wait = start + count / fps - time.monotonic()
        if wait > 0:
            stop.wait(wait)
        take(Frame(None, time.monotonic(), frames[count % len(frames)]))
        count += 1


def _frames() -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    ground = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    for step in range(16):
        yield np.roll(ground, 9 * step, axis=1)


def _warm(model: Model, cameras: int) -> None:
    """Both engines once for each batch that may come, so that kernels are chosen and memory is taken."""
    for batch in range(1, min(cameras, LiveConfig().batch) + 1):
        encoded = model.encoder.run({"segments": _noise((batch, *model.spec.pair_shape))})
        model.head.run({name: np.repeat(value[:, None], model.spec.segments, axis=1) for name, value in encoded.items()})


def _noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


class _Cost(NamedTuple):
    """Medians of one piece of work."""

    ms: float
    cpu_ms: float
    """Processor time of all threads: what the work costs even where others use the machine at the same time."""


def _cost(work: Callable[[], object], repeats: int) -> _Cost:
    work()
    spans = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        spans.append((1000.0 * (time.perf_counter() - wall), 1000.0 * (time.process_time() - cpu)))
    ms, cpu_ms = np.median(np.array(spans), axis=0)
    return _Cost(round(float(ms), 3), round(float(cpu_ms), 3))


def _fastest_ms(work: Callable[[], object], repeats: int) -> float:
    spans = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        spans.append(1000.0 * (time.perf_counter() - begun))
    return min(spans[1:])


def _rss_mb() -> float:
    """Resident memory of this process, megabytes; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return round(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024, 1)


if __name__ == "__main__":
    main()
