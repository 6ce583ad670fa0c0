"""Smoothing: moving a linear layer's outlier channels from its activation, which INT8 shares one scale for, into its weights.

`X W = (X / s) (s W)` with `s = max|X_c|^a / max|W_c|^(1-a)` a channel (G. Xiao et al., "SmoothQuant", ICML 2023). Where `X` comes from a
LayerNormalization that only such layers read, `1 / s` goes into its weight and bias and costs nothing; else one Mul is added. The power
`a` is chosen a tensor, by the error of the quantized product on sampled rows; tensors without outliers are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, helper, numpy_helper

from gasmcast.calibration.graph_edit import drop_unread
from gasmcast.calibration.policy import Candidate
from gasmcast.calibration.qdq import fake_quantize, quantize_weight
from gasmcast.calibration.ranges import TensorStats

__all__ = ["Smoothed", "smooth"]

POWERS = (0.5, 0.7, 0.85, 1.0)
WORTH = 0.8  # a smoothing must bring the product's error below this share of what it was
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Smoothed:
    """One tensor whose outlier channels were moved into the weights that read it."""

    tensor: str
    power: float
    folded: bool
    outlier_ratio: float
    error_before: float
    error_after: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report; errors are relative to the size of the product."""
        return asdict(self)


def smooth(
    model: ModelProto,
    chosen: Sequence[Candidate],
    stats: Mapping[str, TensorStats],
    least_ratio: float = 6.0,
) -> tuple[ModelProto, list[Smoothed]]:
    """An FP32 graph that computes the same and quantizes better.

    Args:
        model: the FP32 graph.
        chosen: the operators to be quantized; only linear ones are smoothed.
        stats: of their activations, collected with sample `rows`.
        least_ratio: tensors whose largest channel is less than this many times the median channel are left alone.
    """
    out = ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    arrays = {t.name: t for t in graph.initializer}
    readers: dict[str, list[Candidate]] = {}
    for c in chosen:
        if c.kind == "linear":
            readers.setdefault(c.activation, []).append(c)
    log: list[Smoothed] = []
    for tensor, layers in readers.items():
        stat = stats.get(tensor)
        if stat is None or stat.top == 0 or not stat.rows or stat.outlier_ratio < least_ratio:
            continue
        weights = [_oriented(arrays, layer) for layer in layers]
        rows = np.concatenate(stat.rows)
        before = sum(_error(rows, w, stat.top) for w in weights)
        w_top = np.maximum.reduce([np.abs(w).max(axis=1) for w in weights])
        tried = [
            (_tried(rows, weights, stat.channel_top, s), power, s)
            for power, s in _scales(stat.channel_top, w_top)
        ]
        after, power, scale = min(tried, key=lambda t: t[0])
        if after > WORTH * before:
            continue
        folded = _apply(graph, tensor, layers, scale)
        log.append(Smoothed(tensor, power, folded, stat.outlier_ratio, before, after))
    return out, log


def _scales(x_top: Array, w_top: Array) -> list[tuple[float, Array]]:
    floor = float(x_top.max()) * 1e-6
    x, w = np.maximum(x_top, floor), np.maximum(w_top, float(w_top.max()) * 1e-6 + 1e-12)
    found = []
    for power in POWERS:
        s = x**power / w ** (1 - power)
        s = s / np.exp(np.mean(np.log(s)))  # the scale of the whole does not matter: keep it near 1
        found.append((power, np.clip(s, 1e-4, 1e4).astype(np.float32)))
    return found


def _tried(rows: Array, weights: Sequence[Array], x_top: Array, s: Array) -> float:
    top = float((x_top / s).max())
    return sum(_error(rows / s, w * s[:, None], top) for w in weights)


def _error(rows: Array, weight: Array, top: float) -> float:
    """Mean squared error of the quantized product over the mean square of the exact one; `weight` is `(in, out)`."""
    q, scales = quantize_weight(weight, 1)
    exact = rows @ weight
    return float(
        np.mean((fake_quantize(rows, top) @ (q * scales) - exact) ** 2)
        / max(float(np.mean(exact**2)), 1e-20)
    )


def _oriented(arrays: Mapping[str, Any], layer: Candidate) -> Array:
    """The weight as `(in, out)`."""
    w = np.asarray(numpy_helper.to_array(arrays[layer.weight]), np.float32)
    return w if layer.axis == 1 else w.T


def _apply(graph: GraphProto, tensor: str, layers: Sequence[Candidate], s: Array) -> bool:
    """Divide the tensor by `s` and multiply the weights' rows by it; True when it went into a LayerNormalization."""
    nodes = {n.name: n for n in graph.node}
    arrays = {t.name: t for t in graph.initializer}
    ours = {layer.node for layer in layers}
    read_by = {n.name for n in graph.node if tensor in n.input}
    producer = next((n for n in graph.node if tensor in n.output), None)
    is_output = any(v.name == tensor for v in graph.output)
    for layer in layers:
        shape = (-1, 1) if layer.axis == 1 else (1, -1)
        old = np.asarray(numpy_helper.to_array(arrays[layer.weight]), np.float32)
        # A new tensor each time: the exporter shares equal tensors, and the other reader must keep its own.
        fresh = f"{layer.weight}.of.{layer.node}"
        graph.initializer.append(numpy_helper.from_array(old * s.reshape(shape), fresh))
        nodes[layer.node].input[1] = fresh
    fold = (
        producer is not None
        and producer.op_type == "LayerNormalization"
        and read_by == ours
        and not is_output
    )
    fold = fold and producer is not None and all(name in arrays for name in producer.input[1:])
    if fold and producer is not None:
        for i, name in enumerate(producer.input[1:], start=1):
            fresh = f"{name}.of.{producer.name}"
            graph.initializer.append(
                numpy_helper.from_array(
                    np.asarray(numpy_helper.to_array(arrays[name]), np.float32) / s, fresh
                )
            )
            producer.input[i] = fresh
    else:
        graph.initializer.append(
            numpy_helper.from_array((1.0 / s).astype(np.float32), f"{tensor}.smooth")
        )
        mul = helper.make_node(
            "Mul",
            [tensor, f"{tensor}.smooth"],
            [f"{tensor}.smoothed"],
            name=f"{layers[0].node}/Smooth",
        )
        for layer in layers:
            nodes[layer.node].input[0] = mul.output[0]
        where = next((i for i, n in enumerate(graph.node) if tensor in n.output), -1) + 1
        graph.node.insert(where, mul)
    drop_unread(graph)
    return bool(fold)
