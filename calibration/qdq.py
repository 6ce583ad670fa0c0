"""Writing explicit Q/DQ: symmetric INT8, zero points 0, per-channel weights stored as INT8, biases left alone.

What TensorRT 10.3 to 11 (explicit quantization, strongly typed), OpenVINO (low-precision transformations) and ONNX Runtime (QDQ fusion)
all read. ONNX Runtime's own quantizer writes the same form only with its defaults turned off (asymmetric UINT8, INT32 bias Q/DQ).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gasmcast.calibration.graph_edit import drop_unread, replace_nodes
from gasmcast.calibration.policy import Candidate

__all__ = ["ALL_LEVELS", "SAFE_LEVELS", "fake_quantize", "insert_qdq", "quantize_weight"]

ALL_LEVELS = 127
SAFE_LEVELS = 64
"""Weights on x86 CPUs without VNNI: their INT8 product adds two u8 x s8 terms in 16 bits, which saturate above 32767, and 2 x 255 x 64
does not. 15 dB were lost to it here. ONNX Runtime calls the remedy `reduce_range`, OpenVINO's NNCF the overflow fix."""


def _scale(top: NDArray[np.float32] | float, levels: int = ALL_LEVELS) -> NDArray[np.float32]:
    """`top / levels`, rounded up to a value that FP16 holds too: the FP32 and the FP16 twin of a graph then quantize alike.

    Never 0, which TensorRT refuses.
    """
    exact = np.asarray(top, np.float32) / np.float32(levels)
    half = exact.astype(np.float16)
    half = np.where(half.astype(np.float32) < exact, np.nextafter(half, np.float16(np.inf)), half)
    return np.maximum(half, np.float16(6e-8)).astype(np.float32)


def quantize_weight(
    weight: NDArray[np.float32], axis: int, levels: int = ALL_LEVELS
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Per-channel symmetric INT8: `weight ~ q * scale` along `axis`.

    Returns:
        `(q, scales)`; a channel of zeros gets a small positive scale, since TensorRT refuses 0.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    top = np.abs(weight).max(axis=others)
    scales = _scale(top, levels)
    shape = [1] * weight.ndim
    shape[axis] = -1
    return np.clip(np.rint(weight / scales.reshape(shape)), -levels, levels).astype(np.int8), scales


def fake_quantize(x: NDArray[np.float32], top: float) -> NDArray[np.float32]:
    """`x` after one trip through symmetric INT8 that saturates at `top`."""
    scale = _scale(top)
    return np.asarray(np.clip(np.rint(x / scale), -128, 127) * scale, np.float32)


def insert_qdq(
    model: ModelProto,
    chosen: Sequence[Candidate],
    tops: Mapping[str, float],
    levels: int = ALL_LEVELS,
) -> ModelProto:
    """A copy of `model` in which the `chosen` operators are INT8.

    Args:
        model: an FP32 graph.
        chosen: from `Policy.choose`.
        tops: activation tensor -> the absolute value at which INT8 saturates. A tensor that is missing or 0 (a constant activation)
            leaves its operators in high precision.
        levels: weights use the integers -levels to levels; `SAFE_LEVELS` for a file that CPUs run.

    Returns:
        the graph with a Q/DQ pair on each activation (one pair a tensor, shared) and INT8 weights behind a DequantizeLinear each.
    """
    out = ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    usable = [c for c in chosen if tops.get(c.activation, 0.0) > 0]
    arrays = {t.name: t for t in graph.initializer}
    nodes = {n.name: n for n in graph.node}
    fresh = _Additions(graph)
    for c in usable:
        node = nodes[c.node]
        node.input[0] = fresh.activation(c.activation, tops[c.activation])
        node.input[1] = fresh.weight(arrays[c.weight], c.axis, levels)
    fresh.apply()
    return out


class _Additions:
    """Nodes and initializers to add, each tensor once."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.before: dict[str, list[NodeProto]] = {}  # activation tensor -> its Q and DQ
        self.first: list[NodeProto] = []
        self.tensors: list[TensorProto] = [_tensor("qdq.zero", np.zeros((), np.int8))]
        self.named: dict[str, str] = {}

    def activation(self, name: str, top: float) -> str:
        key = f"{name}.qdq"
        if key not in self.named:
            scale = _tensor(f"{name}.scale", _scale(top))
            self.tensors.append(scale)
            inputs = [scale.name, "qdq.zero"]
            self.before[name] = [
                helper.make_node(
                    "QuantizeLinear", [name, *inputs], [f"{name}.q"], name=f"{name}/Quantize"
                ),
                helper.make_node(
                    "DequantizeLinear", [f"{name}.q", *inputs], [key], name=f"{name}/Dequantize"
                ),
            ]
            self.named[key] = key
        return key

    def weight(self, tensor: TensorProto, axis: int, levels: int) -> str:
        key = f"{tensor.name}.axis{axis}.dq"
        if key not in self.named:
            q, scales = quantize_weight(
                np.asarray(numpy_helper.to_array(tensor), np.float32), axis, levels
            )
            parts = [
                _tensor(f"{key}.int8", q),
                _tensor(f"{key}.scale", scales),
                _tensor(f"{key}.zero", np.zeros(len(scales), np.int8)),
            ]
            self.tensors += parts
            self.first.append(
                helper.make_node(
                    "DequantizeLinear",
                    [p.name for p in parts],
                    [key],
                    name=f"{key}/Dequantize",
                    axis=axis,
                )
            )
            self.named[key] = key
        return key

    def apply(self) -> None:
        """Put the nodes where their inputs are ready, and drop weights and biases that nobody reads any more."""
        ordered = list(self.first)
        for value in self.graph.input:
            ordered += self.before.pop(value.name, [])
        for node in self.graph.node:
            ordered.append(node)
            for name in node.output:
                ordered += self.before.pop(name, [])
        replace_nodes(self.graph, ordered)
        self.graph.initializer.extend(self.tensors)
        drop_unread(self.graph)


def _tensor(name: str, value: Any) -> TensorProto:  # noqa: ANN401 - whatever numpy takes
    return numpy_helper.from_array(np.asarray(value), name)
