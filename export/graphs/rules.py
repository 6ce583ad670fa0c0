"""What TensorRT 10.3's ONNX parser accepts, checked on the file without TensorRT: one rule, one clear message.

The rules and the texts that TensorRT itself answers with were gathered by building known-bad graphs with TensorRT-RTX and reading the
parser's operator table of TensorRT 10.1 (NVIDIA/onnx-tensorrt, docs/operators.md); 10.3 is the oldest version that JetPack 6 carries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from gasmcast.errors import UsageError

__all__ = ["ALLOWED_OPS", "RuleBreak", "RuleReport", "check_rules", "load_graph"]

MAX_OPSET = 20
_OPERATORS = (
    "Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos "
    "CumSum DequantizeLinear Div Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm "
    "GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization "
    "IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mod Mul Neg Not Or PRelu Pad Pow "
    "QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare Relu Reshape Resize Round Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh "
    "Tile TopK Transpose Trilu Unsqueeze Where Xor"
)
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


@dataclass(frozen=True)
class RuleBreak:
    """One rule that does not hold: `rule` its name, `where` the node, tensor or file, `what` a sentence."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} [{self.rule}]"


@dataclass(frozen=True)
class RuleReport:
    """Truthy when every rule holds."""

    file: str
    nodes: int
    breaks: tuple[RuleBreak, ...]

    def __bool__(self) -> bool:
        return not self.breaks

    def __str__(self) -> str:
        if self:
            return f"{self.file}: {self.nodes} nodes, within TensorRT 10.3's parser"
        return f"{self.file}: {len(self.breaks)} rules broken; first: {self.breaks[0]}"

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report."""
        return {
            "file": self.file,
            "nodes": self.nodes,
            "passed": bool(self),
            "breaks": [asdict(b) for b in self.breaks],
        }


def load_graph(path: Path, weights: bool = True) -> ModelProto:
    """An ONNX file.

    Raises:
        UsageError: no such file, or it is truncated or not ONNX.
    """
    try:
        return onnx.load(str(path), load_external_data=weights)
    except FileNotFoundError:
        raise UsageError(f"There is no ONNX file {path}.", "Export the checkpoint again.") from None
    except Exception as error:  # noqa: BLE001 - protobuf and onnx raise many types for one cause: a damaged file
        detail = (str(error).splitlines() or ["unreadable"])[0]
        raise UsageError(
            f"{path} is truncated or not an ONNX file ({detail}).",
            "Copy it again, or export the checkpoint again.",
        ) from None


def check_rules(path: Path) -> RuleReport:
    """Check one file; weights of small tensors (scales, axes) are read, large ones only for their type.

    Args:
        path: an ONNX file; external data must lie beside it.

    Raises:
        UsageError: the file cannot be read.
    """
    model = load_graph(path, weights=False)
    breaks = [*_external(model, path.parent)]
    if not breaks:
        graph = _Graph(load_graph(path))
        breaks = [
            *_opset(model),
            *_interface(model),
            *_border(model),
            *graph.operators(),
            *graph.quantization(),
        ]
    return RuleReport(path.name, len(model.graph.node), tuple(breaks))


def _opset(model: ModelProto) -> Iterator[RuleBreak]:
    for entry in model.opset_import:
        if entry.domain not in {"", "ai.onnx"}:
            yield RuleBreak(
                "opset",
                entry.domain,
                "an operator set that TensorRT does not have; export with standard ONNX operators only",
            )
        elif entry.version > MAX_OPSET:
            yield RuleBreak(
                "opset",
                f"opset {entry.version}",
                f"TensorRT 10.3 parses opset {MAX_OPSET} and below; export with opset 20",
            )


def _interface(model: ModelProto) -> Iterator[RuleBreak]:
    for value in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            # 0 is a size, of a stream that the model does not have; no size at all is what makes an axis dynamic.
            if axis > 0 and (not dim.HasField("dim_value") or dim.dim_value < 0):
                yield RuleBreak(
                    "static-shapes",
                    value.name,
                    f"axis {axis} is dynamic; only the batch (axis 0) may be",
                )


def _external(model: ModelProto, folder: Path) -> Iterator[RuleBreak]:
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        if Path(where).name != where or not (folder / where).is_file():
            yield RuleBreak(
                "external-data",
                tensor.name,
                f"its data is in {where!r}, which is not a file beside the graph",
            )
            return


def _border(model: ModelProto) -> Iterator[RuleBreak]:
    pixels = {
        v.name for v in model.graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8
    }
    for node in model.graph.node:
        if node.op_type not in {"Cast", "Shape"} and any(name in pixels for name in node.input):
            where = node.name or node.output[0]
            yield RuleBreak(
                "uint8",
                where,
                f"{node.op_type} reads UINT8 pixels; TensorRT holds UINT8 only at its border, cast them first",
            )


class _Graph:
    """Lookups over one loaded model."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.constants: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.constants[node.output[0]] = attribute.t
        self.producer = {out: node for node in model.graph.node for out in node.output}
        self.inputs = {v.name for v in model.graph.input}

    def array(self, name: str) -> np.ndarray[Any, Any] | None:
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def operators(self) -> Iterator[RuleBreak]:
        for node in self.model.graph.node:
            where = node.name or node.output[0]
            if node.op_type == "Attention":
                yield RuleBreak(
                    "attention",
                    where,
                    "the Attention operator; export attention as MatMul, Softmax, MatMul (opset 20)",
                )
            elif node.op_type not in ALLOWED_OPS or node.domain not in {"", "ai.onnx"}:
                yield RuleBreak(
                    "operators",
                    where,
                    f"{node.op_type} is not among the operators of TensorRT 10.3's parser",
                )
            if (
                node.op_type in _REDUCERS
                and len(node.input) > 1
                and node.input[1]
                and node.input[1] not in self.constants
            ):
                yield RuleBreak(
                    "reduce-axes",
                    where,
                    f"{node.op_type}'s axes are computed; they must be constant",
                )
            if node.op_type == "TopK" and node.input[1] not in self.constants:
                yield RuleBreak("topk", where, "TopK's k is computed; it must be constant")
            if node.op_type == "ReduceMean" and self._of_square(
                node
            ):  # NVIDIA/TensorRT issues 2564 and 4723
                yield RuleBreak(
                    "layer-norm",
                    where,
                    "a decomposed LayerNormalization (mean of squares), which overflows in FP16; use the native one",
                )
            if node.op_type == "Cast":
                to = next((a.i for a in node.attribute if a.name == "to"), 0)
                if to in _NETWORK_ONLY:
                    yield RuleBreak(
                        "types",
                        where,
                        f"casts to {_NETWORK_ONLY[to]} inside the graph, which TensorRT cannot hold",
                    )

    def _of_square(self, node: NodeProto) -> bool:
        source = self.producer.get(node.input[0])
        if source is None:
            return False
        if source.op_type == "Pow":
            exponent = self.array(source.input[1])
            return exponent is not None and bool(np.all(exponent == 2))
        return bool(source.op_type == "Mul" and source.input[0] == source.input[1])

    def quantization(self) -> Iterator[RuleBreak]:
        for node in self.model.graph.node:
            if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
                continue
            where = node.name or node.output[0]
            scale = self.array(node.input[1])
            if scale is None:
                yield RuleBreak("qdq-scale", where, "its scale is computed; it must be constant")
            elif not np.all(np.isfinite(scale)) or not np.all(scale > 0):
                yield RuleBreak(
                    "qdq-scale",
                    where,
                    "has a scale that is not above 0; a constant activation was quantized, leave it out",
                )
            zero = (
                self.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
            )
            stored = self.constants.get(node.input[0])
            kind = (
                zero.data_type
                if zero is not None
                else stored.data_type
                if stored is not None
                else None
            )
            if node.op_type == "QuantizeLinear" and kind is None:
                kind = TensorProto.UINT8  # the operator's default when no zero point says otherwise
            if stored is not None and stored.data_type == TensorProto.INT32:
                yield RuleBreak(
                    "qdq-bias",
                    where,
                    "an INT32 bias is dequantized, which TensorRT refuses; leave biases in floating point",
                )
            elif kind is not None and kind != TensorProto.INT8 and not self._is_float(kind):
                yield RuleBreak(
                    "qdq-type",
                    where,
                    f"quantizes to {TensorProto.DataType.Name(kind)}; TensorRT takes symmetric INT8 here",
                )
            if zero is not None and np.any(numpy_helper.to_array(zero)):
                yield RuleBreak(
                    "qdq-zero-point", where, "has a zero point other than 0; quantize symmetrically"
                )

    @staticmethod
    def _is_float(kind: int) -> bool:
        return kind in {TensorProto.FLOAT, TensorProto.FLOAT16}
