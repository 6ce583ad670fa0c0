"""Read the table of compiled layers in the verbose log of TensorRT-RTX's builder."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["LOWEST_FIRST", "CompiledLayer", "read_layers"]

LOWEST_FIRST = ("int8", "fp8", "fp16", "bf16", "fp32")
"""Precisions, the lowest first."""
_TYPES = {"Int8": "int8", "FP8": "fp8", "Half": "fp16", "BFloat16": "bf16", "Float": "fp32"}
# Form of a line: `Name: fc1, LayerType: gemm, Inputs: [{..., Datatype: Half}], Constants: ...
# Metadata: [ONNX Layer: fc1/MatMul]`.
_LAYER = re.compile(
    r"Name: (?P<name>.+?), LayerType: (?P<kernel>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: .*"
    r"Metadata: (?P<nodes>.*)$"
)
_MULTIPLIES = frozenset({"correlation", "gemm", "runtime_fusion"})


class CompiledLayer(NamedTuple):
    """Kernel that computes a node, and its precision."""

    kernel: str
    """Kind of kernel; `kgen` is a generated one, such as an attention fused whole."""
    precision: str
    """Lowest precision among the inputs; empty if none has a known type."""


def read_layers(log: str) -> dict[str, CompiledLayer]:
    """Return the compiled layer of each ONNX node; empty if the log has no layer table.

    A node may be spread over several layers (copies, casts); the layer that multiplies counts.

    Args:
        log: verbose log of the builder.
    """
    # The last table is that of the finished engine.
    start = log.rfind("\nLayers:\n")
    table = log[start : log.find("\nI/O Tensors:", start)] if start >= 0 else ""

    layers: dict[str, CompiledLayer] = {}
    for line in table.splitlines():
        match = _LAYER.match(line)
        if match is None:
            continue

        # A layer computes in the lowest type that it reads; the rest is converted on the way.
        named = re.findall(r"Datatype: (\w+)", match["inputs"])
        types = [_TYPES[name] for name in named if name in _TYPES]
        layer = CompiledLayer(match["kernel"], min(types, key=LOWEST_FIRST.index, default=""))
        # A fused layer holds many nodes.
        for node in re.findall(r"\[ONNX Layer: ([^\]]+)\]", match["nodes"]):
            if node not in layers or _rank(layer.kernel) > _rank(layers[node].kernel):
                layers[node] = layer
    return layers


def _rank(kernel: str) -> int:
    """Return how likely a kernel is the one that multiplies."""
    if kernel in _MULTIPLIES:
        return 2
    return 1 if kernel == "kgen" else 0
