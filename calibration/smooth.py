"""Move outlier channels of activations into the weights of the linear layers that read them.

INT8 has one scale for all channels of an activation but one for each channel of a weight. Smoothing
uses `X W = (X / s) (s W)` with `s = max|X_c|^a / max|W_c|^(1-a)` for each channel c (G. Xiao et
al., "SmoothQuant", ICML 2023). If `X` comes from a LayerNormalization that only such layers read,
`1 / s` is folded into its weight and bias at no cost; otherwise one Mul is added. The power `a` is
chosen for each tensor by the error of the quantized product on sampled rows. Tensors without
outliers stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gasmcast.calibration.graph_edit import drop_unread
from gasmcast.calibration.policy import Candidate
from gasmcast.calibration.qdq import fake_quantize, quantize_weight
from gasmcast.calibration.tensor_stats import TensorStats

__all__ = ["Smoothed", "smooth"]

POWERS = (0.5, 0.7, 0.85, 1.0)
"""Powers `a` that are tried."""
WORTHWHILE = 0.8
"""Share of the original error below which smoothing must bring it."""
MIN_OUTLIER_RATIO = 6.0
"""Outlier ratio below which a tensor stays as it is."""
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Smoothed:
    """Tensor whose outlier channels were moved into the weights that read it.

    Errors are relative to the size of the product.
    """

    tensor: str
    power: float
    """Power `a` of the scales."""
    folded: bool
    """Whether the scales went into a LayerNormalization and not into a Mul."""
    outlier_ratio: float
    """Largest channel over the median one, before smoothing."""
    error_before: float
    error_after: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report."""
        return asdict(self)


class _Trial(NamedTuple):
    """Error of the quantized products with one choice of scales."""

    error: float
    power: float
    scales: Array


def smooth(
    model: ModelProto,
    chosen: Sequence[Candidate],
    stats: Mapping[str, TensorStats],
) -> tuple[ModelProto, list[Smoothed]]:
    """Return an FP32 graph that computes the same and loses less in INT8.

    Args:
        model: the FP32 graph.
        chosen: operators to be quantized; only linear layers are smoothed.
        stats: statistics of their activations, collected with sample rows.

    Returns:
        the graph, and a record of each smoothed tensor.
    """
    out = ModelProto()
    out.CopyFrom(model)
    arrays = {tensor.name: tensor for tensor in out.graph.initializer}
    readers: dict[str, list[Candidate]] = {}
    for candidate in chosen:
        if candidate.kind == "linear":
            readers.setdefault(candidate.activation, []).append(candidate)

    log: list[Smoothed] = []
    for tensor, layers in readers.items():
        stat = stats.get(tensor)
        if stat is None or stat.top == 0 or not stat.rows or stat.outlier_ratio < MIN_OUTLIER_RATIO:
            continue

        # All readers of a tensor share its scales, so the sum of their errors decides.
        weights = [_oriented(arrays[layer.weight], layer) for layer in layers]
        rows = np.concatenate(stat.rows)  # (rows, in)
        error_before = sum(_error(rows, weight, stat.top) for weight in weights)
        best = _best_trial(rows, weights, stat.channel_top)
        if best.error > WORTHWHILE * error_before:
            continue

        folded = _apply(out.graph, tensor, layers, best.scales)
        log.append(
            Smoothed(
                tensor=tensor,
                power=best.power,
                folded=folded,
                outlier_ratio=stat.outlier_ratio,
                error_before=error_before,
                error_after=best.error,
            )
        )
    return out, log


def _best_trial(rows: Array, weights: Sequence[Array], x_top: Array) -> _Trial:
    """Try all powers, and return the one with the smallest error.

    Args:
        rows: `(rows, in)` samples of the activation.
        weights: `(in, out)` each.
        x_top: `(in,)` largest absolute value of each channel.
    """
    w_top = np.maximum.reduce([np.abs(weight).max(axis=1) for weight in weights])
    # Floors keep the scales of channels that are always 0 finite.
    x = np.maximum(x_top, float(x_top.max()) * 1e-6)
    w = np.maximum(w_top, float(w_top.max()) * 1e-6 + 1e-12)

    trials = []
    for power in POWERS:
        scales = x**power / w ** (1 - power)
        # A factor common to all channels changes nothing; near 1 it is numerically safe.
        scales = scales / np.exp(np.mean(np.log(scales)))
        scales = np.clip(scales, 1e-4, 1e4).astype(np.float32)

        top = float((x_top / scales).max())
        error = sum(_error(rows / scales, weight * scales[:, None], top) for weight in weights)
        trials.append(_Trial(error, power, scales))
    return min(trials, key=lambda trial: trial.error)


def _error(rows: Array, weight: Array, top: float) -> float:
    """Return the mean squared error of the quantized product, relative to the exact product.

    Args:
        rows: `(rows, in)`.
        weight: `(in, out)`.
        top: absolute value at which the rows saturate.
    """
    # A relative error makes layers with large outputs count no more than others.
    q, scales = quantize_weight(weight, 1)
    exact = rows @ weight
    quantized = fake_quantize(rows, top) @ (q * scales)
    return float(np.mean((quantized - exact) ** 2) / max(float(np.mean(exact**2)), 1e-20))


def _oriented(tensor: TensorProto, layer: Candidate) -> Array:
    """Return a weight as `(in, out)`."""
    weight = np.asarray(numpy_helper.to_array(tensor), np.float32)
    return weight if layer.weight_axis == 1 else weight.T


def _apply(graph: GraphProto, tensor: str, layers: Sequence[Candidate], scales: Array) -> bool:
    """Divide a tensor by scales and multiply the weights that read it.

    Returns:
        whether the division was folded into a LayerNormalization.
    """
    norm = _foldable_norm(graph, tensor, layers)
    nodes = {node.name: node for node in graph.node}
    arrays = {value.name: value for value in graph.initializer}

    # Each operator gets a new tensor: the exporter shares equal tensors, and other readers of one
    # must keep its values.
    for layer in layers:
        shape = (-1, 1) if layer.weight_axis == 1 else (1, -1)
        weight = np.asarray(numpy_helper.to_array(arrays[layer.weight]), np.float32)
        name = f"{layer.weight}.of.{layer.node}"
        graph.initializer.append(numpy_helper.from_array(weight * scales.reshape(shape), name))
        nodes[layer.node].input[1] = name

    if norm is not None:
        for i, parameter in enumerate(norm.input[1:], start=1):
            name = f"{parameter}.of.{norm.name}"
            value = np.asarray(numpy_helper.to_array(arrays[parameter]), np.float32) / scales
            graph.initializer.append(numpy_helper.from_array(value, name))
            norm.input[i] = name
    else:
        _insert_mul(graph, tensor, [nodes[layer.node] for layer in layers], scales)
    drop_unread(graph)
    return norm is not None


def _foldable_norm(graph: GraphProto, tensor: str, layers: Sequence[Candidate]) -> NodeProto | None:
    """Return the LayerNormalization that computes a tensor, if only these layers read it."""
    producer = next((node for node in graph.node if tensor in node.output), None)
    if producer is None or producer.op_type != "LayerNormalization":
        return None

    # Any other reader would see the scaled tensor.
    readers = {node.name for node in graph.node if tensor in node.input}
    is_output = any(value.name == tensor for value in graph.output)
    if is_output or readers != {layer.node for layer in layers}:
        return None

    initializers = {value.name for value in graph.initializer}
    return producer if all(name in initializers for name in producer.input[1:]) else None


def _insert_mul(
    graph: GraphProto, tensor: str, readers: Sequence[NodeProto], scales: Array
) -> None:
    """Divide a tensor by scales in a Mul that only `readers` read."""
    inverse = numpy_helper.from_array((1.0 / scales).astype(np.float32), f"{tensor}.smooth")
    graph.initializer.append(inverse)
    mul = helper.make_node(
        "Mul",
        [tensor, inverse.name],
        [f"{tensor}.smoothed"],
        name=f"{readers[0].name}/Smooth",
    )
    for node in readers:
        node.input[0] = mul.output[0]

    # An input of the graph has no producer, and its Mul comes first.
    place = next((i for i, node in enumerate(graph.node) if tensor in node.output), -1) + 1
    graph.node.insert(place, mul)
