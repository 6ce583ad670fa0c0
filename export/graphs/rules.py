"""Check a graph against TensorRT 10.3's ONNX parser, without TensorRT: one message per rule.

The rules, and the messages that TensorRT itself gives, were gathered by building known-bad graphs
with TensorRT-RTX and reading the operator table of TensorRT 10.1's parser
(NVIDIA/onnx-tensorrt, docs/operators.md). 10.3 is the oldest version that JetPack 6 carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from onnx import ModelProto, TensorProto

from gasmcast.errors import GateError
from gasmcast.export.graphs.graph_file import load_graph
from gasmcast.export.graphs.operator_rules import (
    GraphLookup,
    operator_breaks,
    quantization_breaks,
)
from gasmcast.export.graphs.rule_report import RuleBreak, RuleReport, node_place

__all__ = ["check_rules", "require_rules"]

MAX_OPSET = 20


def check_rules(path: Path) -> RuleReport:
    """Check one file.

    Args:
        path: ONNX file; external data must be in the same folder.

    Raises:
        UsageError: the file cannot be read.
    """
    # External data is checked first, because reading the weights would follow any path.
    skeleton = load_graph(path, weights=False)
    breaks = list(_external_breaks(skeleton, path.parent))
    if not breaks:
        graph = GraphLookup(load_graph(path))
        breaks = [
            *_opset_breaks(skeleton),
            *_interface_breaks(skeleton),
            *_uint8_breaks(skeleton),
            *operator_breaks(graph),
            *quantization_breaks(graph),
        ]
    return RuleReport(path.name, len(skeleton.graph.node), tuple(breaks))


def require_rules(paths: Iterable[Path], hint: str) -> list[RuleReport]:
    """Check files, and refuse the first that breaks a rule.

    Args:
        paths: ONNX files.
        hint: what to do about a broken rule.

    Raises:
        GateError: a graph breaks a rule.
        UsageError: a file cannot be read.
    """
    # All files are read before one is refused, so that a damaged file is reported as such.
    reports = [check_rules(path) for path in paths]
    for report in reports:
        if not report:
            raise GateError(f"{report}.", hint)
    return reports


def _external_breaks(model: ModelProto, folder: Path) -> Iterator[RuleBreak]:
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        # A path could lead out of the bundle to any file of the machine.
        if Path(location).name != location or not (folder / location).is_file():
            what = f"its data is in {location!r}, which is not a file beside the graph"
            yield RuleBreak("external-data", tensor.name, what)
            return


def _opset_breaks(model: ModelProto) -> Iterator[RuleBreak]:
    for entry in model.opset_import:
        if entry.domain not in {"", "ai.onnx"}:
            what = (
                "an operator set that TensorRT does not have; "
                "export with standard ONNX operators only"
            )
            yield RuleBreak("opset", entry.domain, what)
        elif entry.version > MAX_OPSET:
            what = f"TensorRT 10.3 parses opset {MAX_OPSET} and below; export with opset 20"
            yield RuleBreak("opset", f"opset {entry.version}", what)


def _interface_breaks(model: ModelProto) -> Iterator[RuleBreak]:
    for value in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            # Size 0 is static, for a stream that the model does not have; a missing size makes an
            # axis dynamic.
            if axis > 0 and (not dim.HasField("dim_value") or dim.dim_value < 0):
                what = f"axis {axis} is dynamic; only the batch (axis 0) may be"
                yield RuleBreak("static-shapes", value.name, what)


def _uint8_breaks(model: ModelProto) -> Iterator[RuleBreak]:
    pixels = {
        v.name for v in model.graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8
    }
    for node in model.graph.node:
        # Shapes are read at build time, not on the device.
        if node.op_type in {"Cast", "Shape"} or pixels.isdisjoint(node.input):
            continue
        what = (
            f"{node.op_type} reads UINT8 pixels; "
            "TensorRT holds UINT8 only at its border, cast them first"
        )
        yield RuleBreak("uint8", node_place(node), what)
