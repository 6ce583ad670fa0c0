"""What the processor can do at best, and where the engines spend their time: both by OpenVINO."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gasmcast.runtime.bench import Task, noise
from gasmcast.runtime.bundle import Bundle

__all__ = ["prepare_peak", "prepare_profile"]

_PRODUCT = (1568, 1024, 4096)  # rows, inner, columns
_CONV = (256, 256, 56)  # channels in, channels out, side; 3 x 3


def prepare_peak(task: Task) -> Callable[[], dict[str, Any]]:
    """The best multiply-adds a second in a large matrix product or a 3 x 3 convolution, whichever is faster here, FP32 and INT8."""
    import openvino as ov  # noqa: PLC0415 - only this measurement builds a graph
    from openvino import opset13 as ops  # noqa: PLC0415

    from gasmcast.runtime.engines.openvino import the_core  # noqa: PLC0415

    rng = np.random.default_rng(0)
    rows, inner, columns = _PRODUCT
    channels, found, side = _CONV
    shapes = {
        "product": ((rows, inner), (columns, inner), rows * inner * columns),
        "convolution": ((1, channels, side, side), (found, channels, 3, 3), found * channels * 9 * side * side),
    }
    work: dict[str, dict[str, tuple[Callable[[], object], int]]] = {"fp32": {}, "int8": {}}
    for precision, kinds in work.items():
        for name, (shape, weights, macs) in shapes.items():
            x = ops.parameter(list(shape), np.float32)
            left, right = x, ops.constant(rng.normal(0, 0.02, weights).astype(np.float32))
            if precision == "int8":
                limits = [ops.constant(np.float32(v)) for v in (-4.0, 4.0 * 127 / 128)]
                left = ops.fake_quantize(x, limits[0], limits[1], limits[0], limits[1], 256)
                tops = [ops.constant(np.full((weights[0], *[1] * (len(weights) - 1)), v, np.float32)) for v in (-0.1, 0.1)]
                right = ops.fake_quantize(right, tops[0], tops[1], tops[0], tops[1], 255)
            ones = [1, 1]
            y = ops.matmul(left, right, False, True) if name == "product" else ops.convolution(left, right, ones, ones, ones, ones)
            model = ov.Model([ops.relu(y)], [x])
            request = the_core().compile_model(model, "CPU", _settings(task)).create_infer_request()
            feed = rng.normal(0, 1, shape).astype(np.float32)
            kinds[name] = (partial(request.infer, [feed], share_inputs=True, share_outputs=True), macs)

    def turn() -> dict[str, Any]:
        rates = {p: {name: macs / _fastest_s(step, 10) for name, (step, macs) in kinds.items()} for p, kinds in work.items()}
        return {"macs_per_s": {p: max(kinds.values()) for p, kinds in rates.items()}, "by_kind": rates}

    return turn


def prepare_profile(task: Task) -> Callable[[], dict[str, Any]]:
    """Milliseconds by kind of work in encoder and head, by OpenVINO's own counters; the median of three runs."""
    from gasmcast.runtime.engines.openvino import the_core  # noqa: PLC0415

    bundle = Bundle.open(task.bundle, verify=False)
    requests = {}
    rng = np.random.default_rng(0)
    for graph in ("encoder", "head"):
        path = bundle.path / bundle.file(graph, task.precision)
        compiled = the_core().compile_model(str(path), "CPU", {**_settings(task), "PERF_COUNT": True})
        feeds = {}
        for port in compiled.inputs:
            shape = tuple(int(size.get_length()) if size.is_static else 1 for size in port.get_partial_shape())
            pixels = port.get_element_type().to_dtype() == np.uint8
            feeds[port.get_any_name()] = noise(shape) if pixels else rng.standard_normal(shape, np.float32)
        requests[graph] = (compiled.create_infer_request(), feeds)
        requests[graph][0].infer(feeds)

    def turn() -> dict[str, Any]:
        return {graph: _by_kind(request, feeds) for graph, (request, feeds) in requests.items()}

    return turn


def _by_kind(request: Any, feeds: dict[str, Any], runs: int = 3) -> dict[str, float]:  # noqa: ANN401 - the package is untyped
    """Kind of layer and number type -> ms, most first; what is below half a per cent is added up as `rest`."""
    seen: list[Counter[str]] = []
    for _ in range(runs):
        request.infer(feeds)
        seen.append(Counter())
        for node in request.profiling_info:
            seen[-1][f"{node.node_type} {node.exec_type.rpartition('_')[2]}"] += node.real_time.total_seconds() * 1000.0
    costs = {kind: float(np.median([run[kind] for run in seen])) for kind in seen[0]}
    least = 0.005 * sum(costs.values())
    found = {kind: round(ms, 2) for kind, ms in sorted(costs.items(), key=lambda item: -item[1]) if ms >= least}
    return {**found, "rest": round(sum(ms for ms in costs.values() if ms < least), 2)}


def _settings(task: Task) -> dict[str, Any]:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if task.threads:
        settings["INFERENCE_NUM_THREADS"] = task.threads
    return settings


def _fastest_s(work: Callable[[], object], repeats: int) -> float:
    work()
    spans = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        spans.append(time.perf_counter() - begun)
    return min(spans)
