"""Choose the operators that become INT8 and those that stay in high precision.

Reported by others (docs/decisions/0013-own-qdq-writer.md): quantizing the residual adds, LayerNorms
and softmax of a ViT-B takes it from 85 % to under 5 % top-1, while quantizing only its linear
layers costs under a point; 3-D convolutions lose nothing. Therefore only linear layers and dense
convolutions with constant weights are candidates. Stems, read-out and the scores of the graph
attention stay in high precision: quantizing them saves little time and costs the most accuracy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from onnx import GraphProto, NodeProto, TensorProto

__all__ = ["Candidate", "Policy", "block_of", "candidates"]

Kind = Literal["linear", "conv"]


@dataclass(frozen=True)
class Candidate:
    """Operator that may become INT8."""

    node: str
    """Name of the node."""
    kind: Kind
    block: str
    """Block of the model that the node belongs to; see `block_of`."""
    activation: str
    """Name of the activation tensor."""
    weight: str
    """Name of the weight tensor."""
    weight_axis: int
    """Output-channel axis of the weight."""
    activation_axis: int
    """Channel axis of the activation."""


@dataclass(frozen=True)
class Policy:
    """Rules for the operators that become INT8."""

    linears: bool = True
    convs: bool = True
    high: tuple[str, ...] = (
        r"(^|\.)graph",
        r"(^|[._])edges",
        r"readout",
        r"read_out",
        r"classif",
        r"patch_embed",
        r"(^|\.)stem($|[./_])",
    )
    """Patterns of node names, such as `semantic.net.blocks.3.mlp.fc1/MatMul`, that stay in high
    precision."""
    keep_blocks: tuple[str, ...] = ()
    """Blocks that stay in high precision."""
    min_weights: int = 256
    """Number of weights below which an operator is not worth quantizing."""

    def without(self, blocks: Iterable[str]) -> Policy:
        """Return the policy with more blocks in high precision."""
        return replace(self, keep_blocks=tuple(sorted({*self.keep_blocks, *blocks})))

    def choose(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return the candidates that become INT8."""
        return [candidate for candidate in candidates if self._quantizes(candidate)]

    def _quantizes(self, candidate: Candidate) -> bool:
        enabled = self.linears if candidate.kind == "linear" else self.convs
        if not enabled or candidate.block in self.keep_blocks:
            return False
        return not any(re.search(pattern, candidate.node) for pattern in self.high)


def block_of(name: str) -> str:
    """Return the block that a node belongs to.

    It is the scope of the node up to the first numbered part, or its first two parts:
    `semantic.net.blocks.3.mlp.fc1/MatMul` -> `semantic.net.blocks.3`, and
    `motion.net.layer2.0.conv1.0/Conv` -> `motion.net.layer2.0`.
    """
    scope = name.split("/", maxsplit=1)[0]
    parts = scope.split(".")
    # In `blocks.3` the number is a part of its own; `layer2` does not count as numbered.
    for i, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: i + 1])
    return ".".join(parts[:2])


def candidates(graph: GraphProto, min_weights: int = 256) -> Iterator[Candidate]:
    """Yield all linear layers and dense convolutions with constant FP32 weights, in graph order.

    A convolution with 3 input channels is a stem, and a grouped one gains nothing from INT8:
    neither is a candidate.

    Args:
        graph: the FP32 graph.
        min_weights: smallest number of weights of a candidate.
    """
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    for node in graph.node:
        if len(node.input) < 2 or node.input[1] not in weights:
            continue
        weight = weights[node.input[1]]
        # Small operators take no time, whatever their type.
        if math.prod(weight.dims) < min_weights:
            continue

        axis = _output_axis(node, weight)
        if axis is not None:
            is_conv = node.op_type == "Conv"
            yield Candidate(
                node=node.name,
                kind="conv" if is_conv else "linear",
                block=block_of(node.name),
                activation=node.input[0],
                weight=weight.name,
                weight_axis=axis,
                activation_axis=1 if is_conv else -1,
            )


def _output_axis(node: NodeProto, weight: TensorProto) -> int | None:
    """Return the output-channel axis of an operator's weight; None if it is no candidate."""
    # Weights are (out, in, ...) in Conv, (in, out) in MatMul, and either in Gemm.
    if node.op_type == "Conv":
        dense = _integer(node, "group", 1) == 1 and len(weight.dims) > 2
        return 0 if dense and weight.dims[1] > 3 else None
    if len(weight.dims) != 2:
        return None
    if node.op_type == "MatMul":
        return 1
    if node.op_type == "Gemm" and not _integer(node, "transA", 0):
        return 0 if _integer(node, "transB", 0) else 1
    return None


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)
