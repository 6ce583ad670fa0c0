"""Peak rate of the processor, and time by kind of layer; both measured with OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.precision import in_bf16
from gasmcast.runtime.bench.task import Task, Turn
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines.openvino import compile_graph, missing_bf16
from gasmcast.runtime.engines.openvino_import import load_openvino, the_core
from gasmcast.runtime.engines.random_feeds import random_feeds
from gasmcast.stopwatch import fastest_s

if TYPE_CHECKING:
    from gasmcast.runtime.engines.openvino import OpenVinoEngine

__all__ = ["prepare_peak", "prepare_profile"]

_GRAPHS: tuple[Literal["encoder", "head"], ...] = ("encoder", "head")
_RUNS = 10


class _Layer(NamedTuple):
    """One layer to time at its best."""

    input: tuple[int, ...]
    weights: tuple[int, ...]
    macs: int


def _layers() -> dict[str, _Layer]:
    """Return a large matrix product and a 3 x 3 convolution."""
    rows, inner, columns = 1568, 1024, 4096
    channels_in, channels_out, side = 256, 256, 56
    return {
        "product": _Layer((rows, inner), (columns, inner), rows * inner * columns),
        "convolution": _Layer(
            (1, channels_in, side, side),
            (channels_out, channels_in, 3, 3),
            channels_out * channels_in * 9 * side * side,
        ),
    }


def prepare_peak(task: Task) -> Turn:
    """Compile a matrix product and a convolution in FP32, INT8 and, if supported, BF16.

    A turn returns `macs_per_s` (multiply-adds per second of the faster layer, by precision) and
    `by_kind` (by precision and layer).
    """
    # Weights and inputs are random: the time does not depend on values.
    precisions = ["fp32", "int8"] + ([] if missing_bf16() else ["bf16"])
    rng = np.random.default_rng(0)
    work: dict[str, dict[str, tuple[Callable[[], object], int]]] = {}
    for precision in precisions:
        work[precision] = {}
        for name, layer in _layers().items():
            run = _compile_layer(layer, precision, _properties(task, precision), rng)
            work[precision][name] = (run, layer.macs)

    def turn() -> dict[str, Any]:
        rates: dict[str, dict[str, float]] = {}
        for precision, layers in work.items():
            rates[precision] = {
                name: macs / fastest_s(run, _RUNS) for name, (run, macs) in layers.items()
            }
        # Which kind is faster depends on the processor.
        best = {precision: max(by_kind.values()) for precision, by_kind in rates.items()}
        return {"macs_per_s": best, "by_kind": rates}

    return turn


def _compile_layer(
    layer: _Layer, precision: str, properties: dict[str, Any], rng: np.random.Generator
) -> Callable[[], object]:
    """Compile one layer followed by ReLU, and return a function that runs it once."""
    ov = load_openvino()
    ops = ov.opset13

    x = ops.parameter(list(layer.input), np.float32)
    weights = ops.constant(rng.normal(0, 0.02, layer.weights).astype(np.float32))
    quantized = x
    if precision == "int8":
        # 256 levels for activations, 255 for weights: OpenVINO then computes in INT8.
        low, high = (ops.constant(np.float32(value)) for value in (-4.0, 4.0 * 127 / 128))
        quantized = ops.fake_quantize(x, low, high, low, high, 256)
        per_channel = (layer.weights[0], *[1] * (len(layer.weights) - 1))
        bottom, top = (
            ops.constant(np.full(per_channel, value, np.float32)) for value in (-0.1, 0.1)
        )
        weights = ops.fake_quantize(weights, bottom, top, bottom, top, 255)

    ones = [1, 1]
    if len(layer.input) == 2:
        y = ops.matmul(quantized, weights, False, True)
    else:
        y = ops.convolution(quantized, weights, ones, ones, ones, ones)
    model = ov.Model([ops.relu(y)], [x])

    request = the_core().compile_model(model, "CPU", properties).create_infer_request()

    # Shared inputs and outputs: copies are not part of the peak.
    feed: NDArray[np.float32] = rng.normal(0, 1, layer.input).astype(np.float32)
    return partial(request.infer, [feed], share_inputs=True, share_outputs=True)


def prepare_profile(task: Task) -> Turn:
    """Compile encoder and head with OpenVINO's own counters.

    A turn returns, for `encoder` and `head`, milliseconds by kind of layer; the median of 3 runs.
    """
    bundle = Bundle.open(task.bundle, verify=False)
    work: dict[str, tuple[OpenVinoEngine, dict[str, NDArray[np.generic]]]] = {}
    for graph in _GRAPHS:
        name = bundle.file(graph, task.precision)
        sha256, weights_sha256 = bundle.checksums(name)
        engine = compile_graph(
            bundle.path / name,
            task.threads,
            sha256,
            {"PERF_COUNT": True},
            bf16=in_bf16(task.precision),
            weights_sha256=weights_sha256,
        )
        feeds = random_feeds(engine.inputs)
        engine.run(feeds)  # warm-up
        work[graph] = (engine, feeds)

    def turn() -> dict[str, Any]:
        return {graph: _by_kind(engine, feeds) for graph, (engine, feeds) in work.items()}

    return turn


def _by_kind(
    engine: OpenVinoEngine, feeds: dict[str, NDArray[np.generic]], runs: int = 3
) -> dict[str, float]:
    """Return kind of layer -> ms, largest first; kinds below 0.5 % are summed as `rest`."""
    profiles = []
    for _ in range(runs):
        engine.run(feeds)
        profiles.append(engine.times_ms())
    # A median, because single runs include the scheduler's noise.
    costs = {kind: float(np.median([run[kind] for run in profiles])) for kind in profiles[0]}

    # A table of dozens of tiny kinds would hide the few that matter.
    threshold = 0.005 * sum(costs.values())
    largest: dict[str, float] = {}
    rest = 0.0
    for kind, ms in sorted(costs.items(), key=lambda item: -item[1]):
        if ms >= threshold:
            largest[kind] = round(ms, 2)
        else:
            rest += ms
    return {**largest, "rest": round(rest, 2)}


def _properties(task: Task, precision: str) -> dict[str, Any]:
    hint = "bf16" if in_bf16(precision) else "f32"
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    if task.threads:
        properties["INFERENCE_NUM_THREADS"] = task.threads
    return properties
