"""Write explicit Q/DQ: symmetric INT8, zero points 0, per-channel weights stored as INT8.

Biases stay in FP32. TensorRT 10.3 to 11 (explicit quantization, strongly typed), OpenVINO
(low-precision transformations) and ONNX Runtime (QDQ fusion) all read this form. ONNX Runtime's own
quantizer writes it only with its defaults (asymmetric UINT8, INT32 bias Q/DQ) turned off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gasmcast.calibration.graph_edit import drop_unread, replace_nodes
from gasmcast.calibration.policy import Candidate

__all__ = [
    "ALL_LEVELS",
    "LARGEST_TOP",
    "SAFE_LEVELS",
    "fake_quantize",
    "insert_qdq",
    "quantize_weight",
]

ALL_LEVELS = 127
"""Range of weights that uses all of INT8."""
SAFE_LEVELS = 64
"""Range of weights that is safe on x86 CPUs without VNNI. Their INT8 product adds two u8 x s8 terms
in 16 bits, which saturates above 32767; 2 x 255 x 64 does not. Saturation cost 15 dB here. ONNX
Runtime calls the remedy `reduce_range`, OpenVINO's NNCF the overflow fix."""
_LARGEST_SCALE = 65504.0
"""Largest number of FP16."""
LARGEST_TOP = ALL_LEVELS * _LARGEST_SCALE
"""Largest activation that INT8 can hold with a scale that FP16 can represent: 8.3e6."""


def _scale(top: NDArray[np.float32] | float, levels: int = ALL_LEVELS) -> NDArray[np.float32]:
    """Return `top / levels`, rounded up to a value that FP16 can represent.

    The FP32 and the FP16 version of a graph then quantize alike. The scale is never 0, because
    TensorRT refuses 0, and never infinite.
    """
    exact = np.asarray(top, np.float32) / np.float32(levels)
    # With FP16's largest number as the scale, values above its range saturate. `collect_ranges`
    # leaves such tensors in high precision.
    exact = exact.clip(max=np.float32(_LARGEST_SCALE))
    half = exact.astype(np.float16)
    # Rounding up keeps the largest value inside the range. 65504 has no finite successor, but it is
    # never rounded up.
    with np.errstate(over="ignore"):
        above = np.nextafter(half, np.float16(np.inf))
    half = np.where(half.astype(np.float32) < exact, above, half)
    return np.maximum(half, np.float16(6e-8)).astype(np.float32)


def quantize_weight(
    weight: NDArray[np.float32], axis: int, levels: int = ALL_LEVELS
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize a weight to per-channel symmetric INT8, so that `weight ~ q * scale`.

    Args:
        weight: weight of any shape.
        axis: its output-channel axis.
        levels: largest integer used.

    Returns:
        `q` of the shape of the weight, and `scales` `(channels,)`. A channel of zeros gets a small
        positive scale, because TensorRT refuses 0.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    top = np.abs(weight).max(axis=others)
    scales = _scale(top, levels)

    shape = [1] * weight.ndim
    shape[axis] = -1
    q = np.clip(np.rint(weight / scales.reshape(shape)), -levels, levels)
    return q.astype(np.int8), scales


def fake_quantize(x: NDArray[np.float32], top: float) -> NDArray[np.float32]:
    """Return `x` quantized to symmetric INT8, which saturates at `top`, and dequantized."""
    scale = _scale(top)
    return np.asarray(np.clip(np.rint(x / scale), -128, 127) * scale, np.float32)


def insert_qdq(
    model: ModelProto,
    chosen: Sequence[Candidate],
    tops: Mapping[str, float],
    levels: int = ALL_LEVELS,
) -> ModelProto:
    """Return a copy of an FP32 graph in which the chosen operators are INT8.

    Args:
        model: the FP32 graph.
        chosen: from `Policy.choose`.
        tops: activation tensor -> absolute value at which INT8 saturates. The operators of a tensor
            that is missing, 0 (constant) or above `LARGEST_TOP` stay in high precision.
        levels: weights use the integers -levels to levels; `SAFE_LEVELS` for a file that CPUs run.

    Returns:
        the graph with one Q/DQ pair on each activation tensor, shared by its readers, and each INT8
        weight behind a DequantizeLinear.
    """
    out = ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    nodes = {node.name: node for node in graph.node}

    # The graph is rewired first and ordered once at the end.
    additions = _Additions(graph)
    for candidate in chosen:
        top = tops.get(candidate.activation, 0.0)
        if 0 < top <= LARGEST_TOP:
            node = nodes[candidate.node]
            node.input[0] = additions.add_activation(candidate.activation, top)
            node.input[1] = additions.add_weight(
                arrays[candidate.weight], candidate.weight_axis, levels
            )
    additions.apply()
    return out


class _Additions:
    """Nodes and initializers to add to a graph, one of each name."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.tensors: list[TensorProto] = [_tensor("qdq.zero", np.zeros((), np.int8))]
        self.names: set[str] = set()

        # Weights have no inputs in the graph, so their nodes come first; the Q and DQ of an
        # activation follow the node that computes it.
        self.weight_nodes: list[NodeProto] = []
        self.activation_nodes: dict[str, list[NodeProto]] = {}

    def add_activation(self, name: str, top: float) -> str:
        """Add Q and DQ for an activation tensor, and return the name of their output."""
        output = f"{name}.qdq"
        # Several operators may read one tensor; engines fuse best if they share its Q/DQ.
        if output in self.names:
            return output
        self.names.add(output)

        scale = _tensor(f"{name}.scale", _scale(top))
        self.tensors.append(scale)
        quantized = f"{name}.q"
        self.activation_nodes[name] = [
            helper.make_node(
                "QuantizeLinear",
                [name, scale.name, "qdq.zero"],
                [quantized],
                name=f"{name}/Quantize",
            ),
            helper.make_node(
                "DequantizeLinear",
                [quantized, scale.name, "qdq.zero"],
                [output],
                name=f"{name}/Dequantize",
            ),
        ]
        return output

    def add_weight(self, tensor: TensorProto, axis: int, levels: int) -> str:
        """Add an INT8 weight and its DQ, and return the name of the output."""
        output = f"{tensor.name}.axis{axis}.dq"
        # The exporter shares equal weights, which may be read along different axes.
        if output in self.names:
            return output
        self.names.add(output)

        weight = np.asarray(numpy_helper.to_array(tensor), np.float32)
        q, scales = quantize_weight(weight, axis, levels)
        inputs = [
            _tensor(f"{output}.int8", q),
            _tensor(f"{output}.scale", scales),
            _tensor(f"{output}.zero", np.zeros(len(scales), np.int8)),
        ]
        self.tensors += inputs
        dequantize = helper.make_node(
            "DequantizeLinear",
            [value.name for value in inputs],
            [output],
            name=f"{output}/Dequantize",
            axis=axis,
        )
        self.weight_nodes.append(dequantize)
        return output

    def apply(self) -> None:
        """Insert the nodes after their inputs, and drop weights that nothing reads any more."""
        # ONNX requires nodes in topological order.
        ordered = list(self.weight_nodes)
        for value in self.graph.input:
            ordered += self.activation_nodes.pop(value.name, [])
        for node in self.graph.node:
            ordered.append(node)
            for name in node.output:
                ordered += self.activation_nodes.pop(name, [])

        replace_nodes(self.graph, ordered)
        self.graph.initializer.extend(self.tensors)
        drop_unread(self.graph)


def _tensor(name: str, value: Any) -> TensorProto:  # noqa: ANN401 - whatever numpy takes
    return numpy_helper.from_array(np.asarray(value), name)
