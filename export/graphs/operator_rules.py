"""Rules on single nodes: operators, their constant inputs, and Q/DQ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from gasmcast.export.graphs.rule_report import RuleBreak, node_place

__all__ = ["GraphLookup", "operator_breaks", "quantization_breaks"]

_OPERATORS = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant
ConstantOfShape Conv ConvTranspose Cos CumSum DequantizeLinear Div Einsum Elu Equal Erf Exp Expand
EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool
Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization
IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mod
Mul Neg Not Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Selu
Shape Sigmoid Sign Sin Size Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Tile TopK
Transpose Trilu Unsqueeze Where Xor
"""
ALLOWED_OPS = frozenset(_OPERATORS.split())
_REDUCERS = frozenset(
    {
        "ReduceL1",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    }
)
_NETWORK_ONLY = {TensorProto.UINT8: "UINT8", TensorProto.DOUBLE: "DOUBLE"}
_QUANTIZED_TYPES = {TensorProto.INT8, TensorProto.FLOAT, TensorProto.FLOAT16}


class GraphLookup:
    """Constants and producers of one loaded graph, by tensor name."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes = model.graph.node
        self.constants: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        # The exporter stores small constants as nodes.
        for node in self.nodes:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.constants[node.output[0]] = attribute.t
        self.producer = {output: node for node in self.nodes for output in node.output}

    def array(self, name: str) -> np.ndarray[Any, Any] | None:
        """Return the value of a constant; None if the tensor is computed."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)


def operator_breaks(graph: GraphLookup) -> Iterator[RuleBreak]:
    """Yield the nodes that TensorRT's parser does not read, or that overflow in FP16."""
    for node in graph.nodes:
        where = node_place(node)

        # Every break has a rule of its own, so that its message can name the remedy.
        if node.op_type == "Attention":
            what = "the Attention operator; export attention as MatMul, Softmax, MatMul (opset 20)"
            yield RuleBreak("attention", where, what)
        elif node.op_type not in ALLOWED_OPS or node.domain not in {"", "ai.onnx"}:
            what = f"{node.op_type} is not among the operators of TensorRT 10.3's parser"
            yield RuleBreak("operators", where, what)

        # TensorRT fixes shapes at build time, and these inputs decide shapes.
        if node.op_type in _REDUCERS and _is_computed(graph, node, 1):
            what = f"{node.op_type}'s axes are computed; they must be constant"
            yield RuleBreak("reduce-axes", where, what)
        if node.op_type == "TopK" and _is_computed(graph, node, 1):
            yield RuleBreak("topk", where, "TopK's k is computed; it must be constant")

        # NVIDIA/TensorRT issues 2564 and 4723.
        if node.op_type == "ReduceMean" and _is_square(graph, node.input[0]):
            what = (
                "a decomposed LayerNormalization (mean of squares), which overflows in FP16; "
                "use the native one"
            )
            yield RuleBreak("layer-norm", where, what)

        if node.op_type == "Cast":
            target = next((a.i for a in node.attribute if a.name == "to"), 0)
            if target in _NETWORK_ONLY:
                kind = _NETWORK_ONLY[target]
                what = f"casts to {kind} inside the graph, which TensorRT cannot hold"
                yield RuleBreak("types", where, what)


def quantization_breaks(graph: GraphLookup) -> Iterator[RuleBreak]:
    """Yield the Q/DQ nodes that TensorRT does not take: it wants symmetric INT8."""
    for node in graph.nodes:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        where = node_place(node)

        # The engine folds scales into its kernels.
        scale = graph.array(node.input[1])
        if scale is None:
            yield RuleBreak("qdq-scale", where, "its scale is computed; it must be constant")
        elif not np.all(np.isfinite(scale)) or not np.all(scale > 0):
            what = (
                "has a scale that is not above 0; a constant activation was quantized, leave it out"
            )
            yield RuleBreak("qdq-scale", where, what)

        # The quantized type is known from the zero point or the stored weights.
        stored = graph.constants.get(node.input[0])
        has_zero_point = len(node.input) > 2 and node.input[2]
        zero_point = graph.constants.get(node.input[2]) if has_zero_point else None
        kind = _quantized_type(node, stored, zero_point)
        if stored is not None and stored.data_type == TensorProto.INT32:
            what = (
                "an INT32 bias is dequantized, which TensorRT refuses; "
                "leave biases in floating point"
            )
            yield RuleBreak("qdq-bias", where, what)
        elif kind is not None and kind not in _QUANTIZED_TYPES:
            name = TensorProto.DataType.Name(kind)
            what = f"quantizes to {name}; TensorRT takes symmetric INT8 here"
            yield RuleBreak("qdq-type", where, what)

        if zero_point is not None and np.any(numpy_helper.to_array(zero_point)):
            what = "has a zero point other than 0; quantize symmetrically"
            yield RuleBreak("qdq-zero-point", where, what)


def _is_computed(graph: GraphLookup, node: NodeProto, position: int) -> bool:
    """Return True if an input is present and not a constant."""
    if len(node.input) <= position or not node.input[position]:
        return False
    return node.input[position] not in graph.constants


def _is_square(graph: GraphLookup, name: str) -> bool:
    """Return True if a tensor is `x ** 2` or `x * x`."""
    source = graph.producer.get(name)
    if source is None:
        return False
    if source.op_type == "Pow":
        # The exponent may be a tensor, of which every value must be 2.
        exponent = graph.array(source.input[1])
        return exponent is not None and bool(np.all(exponent == 2))
    return bool(source.op_type == "Mul" and source.input[0] == source.input[1])


def _quantized_type(
    node: NodeProto, stored: TensorProto | None, zero_point: TensorProto | None
) -> int | None:
    """Return the element type on the quantized side; None if nothing in the file says it."""
    if zero_point is not None:
        return int(zero_point.data_type)
    if stored is not None:
        return int(stored.data_type)
    # The operator's default.
    return int(TensorProto.UINT8) if node.op_type == "QuantizeLinear" else None
