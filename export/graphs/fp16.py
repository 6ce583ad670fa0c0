"""FP32 graph to FP16, strongly typed: every tensor has one type, and Casts stand where the type changes.

What ModelOpt's AutoCast does, in the form that these graphs need and without its dependencies. FP32 stays: LayerNormalization,
Softmax and reductions (sums of squares overflow at 65504: NVIDIA/TensorRT issue 4723 is a DINOv3 engine of noise), the pixels up to
the first matrix product, TopK's scores, and whatever was measured to be too large.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gasmcast.calibration.graph_edit import drop_unread, replace_nodes
from gasmcast.errors import UsageError

__all__ = ["KEEP_OPS", "LARGEST", "measure_tops", "to_fp16"]

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
"""A tensor above this on what `measure_tops` was shown stays FP32: three bits below FP16's 65504, for clips that were not seen."""
_SMALLEST = 2.0**-24
_PRODUCTS = frozenset({"Conv", "MatMul", "Gemm", "Einsum", "LayerNormalization"})


def measure_tops(
    model: ModelProto, feeds: Iterable[Mapping[str, NDArray[Any]]], threads: int = 0
) -> dict[str, float]:
    """The largest absolute value of every floating-point tensor of a graph over `feeds`.

    Args:
        model: in FP32.
        feeds: its inputs.
        threads: of ONNX Runtime; 0: all.

    Raises:
        UsageError: values that are not numbers (the tensor is named).
    """
    import onnxruntime  # noqa: PLC0415 - heavy

    types = _types(model)
    names = [
        out
        for node in model.graph.node
        for out in node.output
        if types.get(out) == TensorProto.FLOAT
    ]
    watched = ModelProto()
    watched.CopyFrom(model)
    own = {v.name for v in model.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n not in own
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    tops = dict.fromkeys(names, 0.0)
    for feed in feeds:
        for name, value in zip(names, session.run(names, dict(feed)), strict=True):
            if value.size:
                top = max(float(value.max()), -float(value.min()))
                if np.isnan(top):
                    raise UsageError(
                        f"Tensor {name} holds values that are not numbers on a calibration clip.",
                        "Check the checkpoint (did training diverge?) and the clips.",
                    )
                tops[name] = max(tops[name], top)
    return tops


def to_fp16(model: ModelProto, tops: Mapping[str, float] | None = None) -> ModelProto:
    """A strongly typed FP16 twin of an FP32 (or Q/DQ) graph; inputs and outputs keep their types.

    Args:
        model: the graph; its operators must not have subgraphs.
        tops: largest absolute value by tensor, from `measure_tops`; a node that reads or writes one above `LARGEST` stays FP32.
    """
    return _Converter(model, tops or {}).run()


def _types(model: ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=False)
    types = {
        v.name: v.type.tensor_type.elem_type
        for v in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    }
    return types | {t.name: t.data_type for t in model.graph.initializer}


class _Converter:
    def __init__(self, model: ModelProto, tops: Mapping[str, float]) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.types = _types(model)
        self.tops = tops
        self.constants = {t.name: t for t in self.graph.initializer}
        self.held: dict[str, int] = {
            v.name: v.type.tensor_type.elem_type for v in self.graph.input
        }  # float tensors as they now are
        self.made: dict[tuple[str, int], str] = {}
        self.halves: list[TensorProto] = []
        self.nodes: list[NodeProto] = []

    def run(self) -> ModelProto:
        pixels = self._pixels()
        for node in list(self.graph.node):
            floats = [
                n for n in (*node.input, *node.output) if self.types.get(n) == TensorProto.FLOAT
            ]
            if not floats:
                self.nodes.append(node)
            elif node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
                self._typed(node, self._scale_type(node))
            else:
                high = node.op_type in KEEP_OPS or node.name in pixels or self._too_large(node)
                # A node that makes floats of none (ConstantOfShape) has their type in an attribute: it stays, and a Cast follows.
                high |= node.op_type != "Cast" and not any(
                    self.types.get(n) == TensorProto.FLOAT for n in node.input
                )
                self._typed(node, TensorProto.FLOAT if high else TensorProto.FLOAT16)
        for value in self.graph.output:
            self._finish(value.name, value.type.tensor_type.elem_type)
        replace_nodes(self.graph, self.nodes)
        del self.graph.value_info[:]
        self.graph.initializer.extend(self.halves)
        drop_unread(self.graph)
        return self.model

    def _pixels(self) -> set[str]:
        """Nodes between the uint8 input and the first product: colors are normalized in FP32."""
        reached = {
            v.name for v in self.graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8
        }
        names = set()
        for node in self.graph.node:
            if node.op_type not in _PRODUCTS and any(n in reached for n in node.input):
                names.add(node.name)
                reached.update(node.output)
        return names

    def _too_large(self, node: NodeProto) -> bool:
        if any(self.tops.get(n, 0.0) > LARGEST for n in (*node.input, *node.output)):
            return True
        return any(n in self.constants and not self._fits(n) for n in node.input)

    def _fits(self, name: str) -> bool:
        tensor = self.constants[name]
        if tensor.data_type != TensorProto.FLOAT:
            return True
        values = np.abs(numpy_helper.to_array(tensor))
        top = float(values.max()) if values.size else 0.0
        return top <= LARGEST and (top == 0.0 or top >= _SMALLEST)

    def _scale_type(self, node: NodeProto) -> int:
        """A scale that FP16 would make 0 stays FP32, and its tensor with it; an activation that is FP32 is quantized as it is."""
        if not self._fits(node.input[1]):
            return int(TensorProto.FLOAT)
        if node.op_type == "QuantizeLinear":
            return self.held.get(node.input[0], int(TensorProto.FLOAT16))
        return int(TensorProto.FLOAT16)

    def _typed(self, node: NodeProto, kind: int) -> None:
        if node.op_type == "Cast":
            self._cast(node, kind)
            return
        for i, name in enumerate(node.input):
            if self.types.get(name) == TensorProto.FLOAT:
                node.input[i] = self._as(name, kind)
        self.nodes.append(node)
        for name in node.output:
            if self.types.get(name) == TensorProto.FLOAT:
                self.held[name] = kind

    def _cast(self, node: NodeProto, kind: int) -> None:
        """A Cast to or from FP32 keeps its source as it is and gives `kind`."""
        source, target = node.input[0], node.output[0]
        if self.types.get(target) == TensorProto.FLOAT:
            for attribute in node.attribute:
                if attribute.name == "to":
                    attribute.i = kind
            self.held[target] = kind
        elif self.types.get(source) == TensorProto.FLOAT:
            node.input[0] = (
                source if source in self.held else self._as(source, int(TensorProto.FLOAT))
            )
        self.nodes.append(node)

    def _as(self, name: str, kind: int) -> str:
        """`name` in the wanted type: itself, an FP16 copy of a constant, or behind a Cast (one a tensor)."""
        if name in self.constants:
            if kind == TensorProto.FLOAT:
                return name
            key = (name, kind)
            if key not in self.made:
                half = numpy_helper.to_array(self.constants[name]).astype(np.float16)
                self.halves.append(numpy_helper.from_array(half, f"{name}.fp16"))
                self.made[key] = f"{name}.fp16"
            return self.made[key]
        if self.held.get(name, TensorProto.FLOAT) == kind:
            return name
        key = (name, kind)
        if key not in self.made:
            fresh = f"{name}.{'fp16' if kind == TensorProto.FLOAT16 else 'fp32'}"
            self.nodes.append(
                helper.make_node("Cast", [name], [fresh], name=f"{name}/Cast.{kind}", to=kind)
            )
            self.made[key] = fresh
        return self.made[key]

    def _finish(self, name: str, kind: int) -> None:
        """A graph output keeps its name and its type."""
        if kind != TensorProto.FLOAT or self.held.get(name, kind) == kind:
            return
        inner = f"{name}.half"
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, n in enumerate(names):
                    if n == name:
                        names[i] = inner
        self.nodes.append(
            helper.make_node("Cast", [inner], [name], name=f"{name}/Cast.out", to=kind)
        )
