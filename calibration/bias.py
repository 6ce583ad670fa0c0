"""Bias correction: rounding weights and activations shifts the mean of what a layer gives; its bias takes the shift back.

The shift is the mean over calibration samples of `Q(W) Q(x) - W x` (M. Nagel et al., "Data-free quantization through weight equalization
and bias correction", ICCV 2019, section 4.2, there for the weights alone). Costs nothing at run time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gasmcast.calibration.policy import Candidate
from gasmcast.calibration.qdq import fake_quantize, quantize_weight
from gasmcast.calibration.ranges import TensorStats

__all__ = ["correct_biases"]

Array = NDArray[np.float32]


def correct_biases(
    model: ModelProto,
    chosen: Sequence[Candidate],
    stats: Mapping[str, TensorStats],
    tops: Mapping[str, float],
    levels: int,
) -> ModelProto:
    """An FP32 graph whose biases make up for what `insert_qdq` with the same arguments will do to the mean of each output.

    Args:
        model: the FP32 graph; its biases are replaced, or added where there are none.
        chosen: the operators that become INT8.
        stats: of their activations; a tensor without sample rows leaves its operators as they are.
        tops: activation tensor -> the absolute value at which INT8 saturates.
        levels: of the weights.
    """
    out = ModelProto()
    out.CopyFrom(model)
    nodes = {n.name: n for n in out.graph.node}
    arrays = {t.name: t for t in out.graph.initializer}
    for c in chosen:
        stat, top = stats.get(c.activation), tops.get(c.activation, 0.0)
        if stat is None or not stat.rows or top <= 0:
            continue
        weight = np.asarray(numpy_helper.to_array(arrays[c.weight]), np.float32)
        shift = _shift(np.concatenate(stat.rows), weight, c, top, levels)
        holder, slot = _bias_of(out.graph, nodes[c.node], arrays, shift.size)
        old = (
            numpy_helper.to_array(arrays[holder.input[slot]])
            if slot < len(holder.input) and holder.input[slot]
            else 0.0
        )
        # A new tensor each time: the exporter shares equal ones.
        name = f"{c.node}.corrected"
        out.graph.initializer.append(
            numpy_helper.from_array(np.asarray(old - shift, np.float32), name)
        )
        if slot < len(holder.input):
            holder.input[slot] = name
        else:
            holder.input.append(name)
    return out


def _bias_of(
    graph: GraphProto, node: NodeProto, arrays: Mapping[str, TensorProto], size: int
) -> tuple[NodeProto, int]:
    """The node and input that hold an operator's bias; a MatMul without one gets an Add."""
    if node.op_type != "MatMul":
        return node, 2
    readers = [n for n in graph.node if node.output[0] in n.input]
    if len(readers) == 1 and readers[0].op_type == "Add":
        slot = 1 - list(readers[0].input).index(node.output[0])
        bias = arrays.get(readers[0].input[slot])
        if bias is not None and list(bias.dims) == [size]:
            return readers[0], slot
    result, node.output[0] = node.output[0], f"{node.output[0]}.product"
    where = next(i for i, n in enumerate(graph.node) if n.name == node.name) + 1
    graph.node.insert(
        where, helper.make_node("Add", [node.output[0]], [result], name=f"{node.name}/Corrected")
    )
    return graph.node[where], 1


def _shift(rows: Array, weight: Array, c: Candidate, top: float, levels: int) -> Array:
    """Mean change of each output channel. A kernel reads the same channel means at all its places; what padding adds is ignored."""
    q, scales = quantize_weight(weight, c.axis, levels)
    shape = [1] * weight.ndim
    shape[c.axis] = -1
    pair = []
    for w in (np.asarray(q * scales.reshape(shape), np.float32), weight):
        summed = w.reshape(*w.shape[:2], -1).sum(axis=2)
        pair.append(summed if c.axis == 1 else summed.T)
    return np.asarray(
        fake_quantize(rows, top).mean(axis=0) @ pair[0] - rows.mean(axis=0) @ pair[1], np.float32
    )
