"""What the processor can do at best, and where the engines spend their time: both by OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gasmcast.precision import in_bf16
from gasmcast.runtime.bench.process import Task, noise
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.capacity import fastest_s

if TYPE_CHECKING:
    from gasmcast.runtime.engines.openvino import OpenVinoEngine

__all__ = ["prepare_peak", "prepare_profile"]

_PAIR: tuple[Literal["encoder", "head"], ...] = ("encoder", "head")
_PRODUCT = (1568, 1024, 4096)  # rows, inner, columns
_CONV = (256, 256, 56)  # channels in, channels out, side; 3 x 3


def prepare_peak(task: Task) -> Callable[[], dict[str, Any]]:
    """The best multiply-adds a second in a large matrix product or a 3 x 3 convolution, whichever is faster here, FP32, INT8 and BF16."""
    import openvino as ov  # noqa: PLC0415 - only this measurement builds a graph
    from openvino import opset13 as ops  # noqa: PLC0415

    from gasmcast.runtime.engines.openvino import missing_bf16, the_core  # noqa: PLC0415

    rng = np.random.default_rng(0)
    rows, inner, columns = _PRODUCT
    channels, found, side = _CONV
    shapes = {
        "product": ((rows, inner), (columns, inner), rows * inner * columns),
        "convolution": (
            (1, channels, side, side),
            (found, channels, 3, 3),
            found * channels * 9 * side * side,
        ),
    }
    work: dict[str, dict[str, tuple[Callable[[], object], int]]] = {"fp32": {}, "int8": {}}
    if not missing_bf16():
        work["bf16"] = {}
    for precision, kinds in work.items():
        for name, (shape, weights, macs) in shapes.items():
            x = ops.parameter(list(shape), np.float32)
            left, right = x, ops.constant(rng.normal(0, 0.02, weights).astype(np.float32))
            if precision == "int8":
                limits = [ops.constant(np.float32(v)) for v in (-4.0, 4.0 * 127 / 128)]
                left = ops.fake_quantize(x, limits[0], limits[1], limits[0], limits[1], 256)
                tops = [
                    ops.constant(np.full((weights[0], *[1] * (len(weights) - 1)), v, np.float32))
                    for v in (-0.1, 0.1)
                ]
                right = ops.fake_quantize(right, tops[0], tops[1], tops[0], tops[1], 255)
            ones = [1, 1]
            y = (
                ops.matmul(left, right, False, True)
                if name == "product"
                else ops.convolution(left, right, ones, ones, ones, ones)
            )
            model = ov.Model([ops.relu(y)], [x])
            request = (
                the_core()
                .compile_model(model, "CPU", _settings(task, precision))
                .create_infer_request()
            )
            feed = rng.normal(0, 1, shape).astype(np.float32)
            kinds[name] = (
                partial(request.infer, [feed], share_inputs=True, share_outputs=True),
                macs,
            )

    def turn() -> dict[str, Any]:
        rates = {
            p: {name: macs / fastest_s(step, 10) for name, (step, macs) in kinds.items()}
            for p, kinds in work.items()
        }
        return {
            "macs_per_s": {p: max(kinds.values()) for p, kinds in rates.items()},
            "by_kind": rates,
        }

    return turn


def prepare_profile(task: Task) -> Callable[[], dict[str, Any]]:
    """Milliseconds by kind of work in encoder and head, by OpenVINO's own counters; the median of three runs."""
    from gasmcast.runtime.engines.openvino import compile_graph  # noqa: PLC0415

    bundle = Bundle.open(task.bundle, verify=False)
    rng = np.random.default_rng(0)
    work = {}
    for graph in _PAIR:
        name = bundle.file(graph, task.precision)
        sha256, bf16 = bundle.manifest.files[name].sha256, in_bf16(task.precision)
        engine = compile_graph(
            bundle.path / name, task.threads, sha256, {"PERF_COUNT": True}, bf16=bf16
        )
        feeds: dict[str, NDArray[np.generic]] = {}
        for port, spec in engine.inputs.items():
            shape = (1, *(int(size or 1) for size in spec.shape[1:]))
            feeds[port] = (
                noise(shape) if spec.dtype == np.uint8 else rng.standard_normal(shape, np.float32)
            )
        engine.run(feeds)
        work[graph] = (engine, feeds)

    def turn() -> dict[str, Any]:
        return {graph: _by_kind(engine, feeds) for graph, (engine, feeds) in work.items()}

    return turn


def _by_kind(
    engine: OpenVinoEngine, feeds: dict[str, NDArray[np.generic]], runs: int = 3
) -> dict[str, float]:
    """Kind of layer and number type -> ms, most first; what is below half a percent is added up as `rest`."""
    seen = []
    for _ in range(runs):
        engine.run(feeds)
        seen.append(engine.times_ms())
    costs = {kind: float(np.median([run[kind] for run in seen])) for kind in seen[0]}
    least = 0.005 * sum(costs.values())
    found = {
        kind: round(ms, 2)
        for kind, ms in sorted(costs.items(), key=lambda item: -item[1])
        if ms >= least
    }
    return {**found, "rest": round(sum(ms for ms in costs.values() if ms < least), 2)}


def _settings(task: Task, precision: str) -> dict[str, Any]:
    hint = "bf16" if in_bf16(precision) else "f32"
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    if task.threads:
        settings["INFERENCE_NUM_THREADS"] = task.threads
    return settings
