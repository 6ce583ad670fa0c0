"""Convert an FP32 graph to FP16, strongly typed: Casts stand where the type changes.

Follows ModelOpt's AutoCast in the form that these graphs need, without its dependencies. FP32
stays in LayerNormalization, Softmax and reductions (sums of squares overflow at 65504: NVIDIA/
TensorRT issue 4723 is a DINOv3 engine of noise), in the pixels up to the first matrix product, in
TopK's scores, and in tensors that were measured to be too large.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gasmcast.calibration.graph_edit import drop_unread, replace_nodes
from gasmcast.export.graphs.largest import tensor_types

__all__ = ["LARGEST", "to_fp16"]

KEEP_OPS = frozenset(
    {
        "LayerNormalization",
        "Softmax",
        "LogSoftmax",
        "ReduceMean",
        "ReduceSum",
        "ReduceL2",
        "Pow",
        "Exp",
        "Log",
        "TopK",
        "InstanceNormalization",
    }
)
LARGEST = 8192.0
"""Largest absolute value of a tensor in FP16, measured or constant: three bits below FP16's 65504,
as a margin for clips that were not measured."""
_SMALLEST = 2.0**-24
"""Smallest positive number of FP16."""
_PRODUCTS = frozenset({"Conv", "MatMul", "Gemm", "Einsum", "LayerNormalization"})
_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
_FLOAT, _HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)


def to_fp16(model: ModelProto, largest: Mapping[str, float] | None = None) -> ModelProto:
    """Return a strongly typed FP16 copy of an FP32 (or Q/DQ) graph.

    Inputs and outputs keep their types.

    Args:
        model: graph whose operators have no subgraphs.
        largest: largest absolute value by tensor, from `measure_largest`; a node that reads or
            writes a tensor above `LARGEST` stays in FP32.
    """
    return _Converter(model, largest or {}).run()


class _Converter:
    """State of one conversion."""

    def __init__(self, model: ModelProto, largest: Mapping[str, float]) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.types = tensor_types(model)
        self.largest = largest
        self.constants = {t.name: t for t in self.graph.initializer}
        self.current = {v.name: v.type.tensor_type.elem_type for v in self.graph.input}
        """Type that each floating-point tensor has in the new graph."""
        self.copies: dict[tuple[str, int], str] = {}
        """Tensor and type -> name of its copy in that type, one per tensor."""
        self.halves: list[TensorProto] = []
        self.nodes: list[NodeProto] = []

    def run(self) -> ModelProto:
        pixel_nodes = self._pixel_nodes()
        for node in list(self.graph.node):
            self._convert(node, node.name in pixel_nodes)
        for value in self.graph.output:
            self._restore_output(value.name, value.type.tensor_type.elem_type)

        # Inferred types are those of the FP32 graph and would contradict the new ones.
        replace_nodes(self.graph, self.nodes)
        del self.graph.value_info[:]
        self.graph.initializer.extend(self.halves)
        drop_unread(self.graph)
        return self.model

    def _convert(self, node: NodeProto, reads_pixels: bool) -> None:
        if not any(self._is_float(name) for name in (*node.input, *node.output)):
            self.nodes.append(node)
            return

        # The types of a Q/DQ node are those of its scale.
        if node.op_type in _QDQ:
            self._append_typed(node, self._scale_type(node))
            return

        # ConstantOfShape and the like have no float input and get their type from an attribute:
        # keep them in FP32; consumers add a Cast.
        makes_floats = node.op_type != "Cast" and not any(map(self._is_float, node.input))
        high = makes_floats or reads_pixels or node.op_type in KEEP_OPS or self._is_too_large(node)
        self._append_typed(node, _FLOAT if high else _HALF)

    def _is_float(self, name: str) -> bool:
        return self.types.get(name) == _FLOAT

    def _pixel_nodes(self) -> set[str]:
        """Return the nodes between the uint8 input and the first product: colors stay in FP32."""
        reached = {
            v.name for v in self.graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8
        }
        names = set()
        for node in self.graph.node:
            if node.op_type not in _PRODUCTS and any(name in reached for name in node.input):
                names.add(node.name)
                reached.update(node.output)
        return names

    def _is_too_large(self, node: NodeProto) -> bool:
        # Inputs count too: FP16 would overflow before the node can make them small.
        if any(self.largest.get(name, 0.0) > LARGEST for name in (*node.input, *node.output)):
            return True
        return any(name in self.constants and not self._fits(name) for name in node.input)

    def _fits(self, constant: str) -> bool:
        """Return True if a constant is at most `LARGEST`, and not so small that FP16 makes it 0."""
        tensor = self.constants[constant]
        if tensor.data_type != _FLOAT:
            return True
        # Values below FP16's smallest would all become 0.
        values = np.abs(numpy_helper.to_array(tensor))
        top = float(values.max()) if values.size else 0.0
        return top <= LARGEST and (top == 0.0 or top >= _SMALLEST)

    def _scale_type(self, node: NodeProto) -> int:
        """Return the type of a Q/DQ node's scale, which is the type of its floating-point side.

        A scale that FP16 would round to 0 stays in FP32. An activation is quantized in the type
        that it has.
        """
        if not self._fits(node.input[1]):
            return _FLOAT
        if node.op_type == "QuantizeLinear":
            return int(self.current.get(node.input[0], _HALF))
        return _HALF

    def _append_typed(self, node: NodeProto, kind: int) -> None:
        """Append a node whose floating-point inputs and outputs have the type `kind`."""
        if node.op_type == "Cast":
            self._append_cast(node, kind)
            return

        # A node sees one type on all its floating-point inputs, as strong typing demands.
        for i, name in enumerate(node.input):
            if self._is_float(name):
                node.input[i] = self._in_type(name, kind)
        self.nodes.append(node)
        for name in node.output:
            if self._is_float(name):
                self.current[name] = kind

    def _append_cast(self, node: NodeProto, kind: int) -> None:
        """Append a Cast; its input keeps its type.

        If it casts to FP32, it casts to `kind` instead.
        """
        target = node.output[0]
        if self._is_float(target):
            for attribute in node.attribute:
                if attribute.name == "to":
                    attribute.i = kind
            self.current[target] = kind
        self.nodes.append(node)

    def _in_type(self, name: str, kind: int) -> str:
        """Return the name of a tensor in the type `kind`: itself, or a copy that is made once."""
        is_constant = name in self.constants
        current = _FLOAT if is_constant else self.current.get(name, _FLOAT)
        if current == kind:
            return name

        key = (name, kind)
        if key not in self.copies:
            copy = f"{name}.{'fp16' if kind == _HALF else 'fp32'}"
            # Constants are converted in the file, everything else by a Cast at run time.
            if is_constant:
                values = numpy_helper.to_array(self.constants[name]).astype(np.float16)
                self.halves.append(numpy_helper.from_array(values, copy))
            else:
                self.nodes.append(
                    helper.make_node("Cast", [name], [copy], name=f"{name}/Cast.{kind}", to=kind)
                )
            self.copies[key] = copy
        return self.copies[key]

    def _restore_output(self, name: str, kind: int) -> None:
        """Give a graph output its original type under its original name."""
        if kind != _FLOAT or self.current.get(name, kind) == kind:
            return

        # The node that makes the output gets another name for it, and a Cast the old one.
        inner = f"{name}.half"
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, tensor in enumerate(names):
                    if tensor == name:
                        names[i] = inner
        self.nodes.append(
            helper.make_node("Cast", [inner], [name], name=f"{name}/Cast.out", to=kind)
        )
