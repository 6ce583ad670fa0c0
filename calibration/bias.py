"""Correct biases for the mean error that quantization causes.

Rounding weights and activations shifts the mean output of a layer; subtracting the shift from its
bias removes the error at no cost at run time. The shift is the mean over calibration samples of
`Q(W) Q(x) - W x` (M. Nagel et al., "Data-free quantization through weight equalization and bias
correction", ICCV 2019, section 4.2, there for the weights alone).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gasmcast.calibration.policy import Candidate
from gasmcast.calibration.qdq import fake_quantize, quantize_weight
from gasmcast.calibration.tensor_stats import TensorStats

__all__ = ["correct_biases"]

Array = NDArray[np.float32]


class _Bias(NamedTuple):
    """Place of a bias: input `slot` of `node`, which may not exist yet."""

    node: NodeProto
    slot: int


def correct_biases(
    model: ModelProto,
    chosen: Sequence[Candidate],
    stats: Mapping[str, TensorStats],
    tops: Mapping[str, float],
    levels: int,
) -> ModelProto:
    """Return a copy of an FP32 graph whose biases cancel the mean error of its quantization.

    Args:
        model: the FP32 graph; biases are replaced, or added to operators that have none.
        chosen: operators that become INT8.
        stats: statistics of their activations. Operators whose tensor has no sample rows stay as
            they are.
        tops: activation tensor -> absolute value at which INT8 saturates.
        levels: range of the weights, as in `insert_qdq`.
    """
    out = ModelProto()
    out.CopyFrom(model)
    nodes = {node.name: node for node in out.graph.node}
    arrays = {tensor.name: tensor for tensor in out.graph.initializer}

    for candidate in chosen:
        stat, top = stats.get(candidate.activation), tops.get(candidate.activation, 0.0)
        # Without samples there is no mean to correct; a tensor that is 0 is not quantized.
        if stat is None or not stat.rows or top <= 0:
            continue
        weight = np.asarray(numpy_helper.to_array(arrays[candidate.weight]), np.float32)
        shift = _mean_shift(np.concatenate(stat.rows), weight, candidate, top=top, levels=levels)

        node, slot = _find_bias(out.graph, nodes[candidate.node], arrays, shift.size)
        has_bias = slot < len(node.input) and node.input[slot]
        bias = numpy_helper.to_array(arrays[node.input[slot]]) if has_bias else 0.0

        # The bias gets a new tensor, because the exporter shares equal tensors between operators.
        name = f"{candidate.node}.corrected"
        corrected = np.asarray(bias - shift, np.float32)
        out.graph.initializer.append(numpy_helper.from_array(corrected, name))
        if slot < len(node.input):
            node.input[slot] = name
        else:
            node.input.append(name)
    return out


def _find_bias(
    graph: GraphProto, node: NodeProto, arrays: Mapping[str, TensorProto], size: int
) -> _Bias:
    """Return the place of an operator's bias; a MatMul without one gets an Add behind it."""
    if node.op_type != "MatMul":
        return _Bias(node, 2)

    # The exporter writes a linear layer with bias as MatMul and Add.
    readers = [reader for reader in graph.node if node.output[0] in reader.input]
    if len(readers) == 1 and readers[0].op_type == "Add":
        slot = 1 - list(readers[0].input).index(node.output[0])
        bias = arrays.get(readers[0].input[slot])
        if bias is not None and list(bias.dims) == [size]:
            return _Bias(readers[0], slot)

    # The new Add takes over the output name, so that readers need no change.
    result = node.output[0]
    node.output[0] = f"{result}.product"
    place = next(i for i, other in enumerate(graph.node) if other.name == node.name) + 1
    add = helper.make_node("Add", [node.output[0]], [result], name=f"{node.name}/Corrected")
    graph.node.insert(place, add)
    return _Bias(graph.node[place], 1)


def _mean_shift(
    rows: Array, weight: Array, candidate: Candidate, *, top: float, levels: int
) -> Array:
    """Return the mean change of each output channel, `(out,)`.

    A kernel is assumed to read the same channel means at all of its places; padding is ignored.
    """
    shape = [1] * weight.ndim
    shape[candidate.weight_axis] = -1
    q, scales = quantize_weight(weight, candidate.weight_axis, levels)
    quantized = np.asarray(q * scales.reshape(shape), np.float32)

    # The mean over rows commutes with the product, so one row of means is enough.
    exact_mean = rows.mean(axis=0) @ _summed_kernel(weight, candidate.weight_axis)
    quantized_mean = fake_quantize(rows, top).mean(axis=0) @ _summed_kernel(
        quantized, candidate.weight_axis
    )
    return np.asarray(quantized_mean - exact_mean, np.float32)


def _summed_kernel(weight: Array, axis: int) -> Array:
    """Sum a weight over its kernel places, as `(in, out)`; `axis` is its output axis."""
    summed = weight.reshape(*weight.shape[:2], -1).sum(axis=2)
    return np.asarray(summed if axis == 1 else summed.T, np.float32)
