"""Which operators become INT8, by component, and which stay in high precision.

Reported by others (docs/decisions.md): quantizing a ViT's residual adds, LayerNorms and softmax takes ViT-B from 85 % to under
5 % top-1, quantizing only its linear layers costs under a point; 3-D convolutions lose nothing. So: linears and dense convolutions with
constant weights, nothing else; the ends (stems, read-out) and the graph's scores stay high, because they cost little and hurt most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from onnx import GraphProto, NodeProto, TensorProto

__all__ = ["Candidate", "Policy", "block_of", "candidates"]

Kind = Literal["linear", "conv"]


@dataclass(frozen=True)
class Candidate:
    """An operator that may become INT8.

    `activation` and `weight` are tensor names; `axis` is the weight's output-channel axis; `channels` the activation's channel axis.
    """

    node: str
    kind: Kind
    block: str
    activation: str
    weight: str
    axis: int
    channels: int


@dataclass(frozen=True)
class Policy:
    """What is quantized: patterns are searched in node names such as `semantic.net.blocks.3.mlp.fc1/MatMul`."""

    linears: bool = True
    convs: bool = True
    high: tuple[str, ...] = (
        r"(^|\.)graph", r"(^|[._])edges", r"readout", r"read_out", r"classif", r"patch_embed", r"(^|\.)stem($|[./_])",
    )  # fmt: skip
    keep_blocks: tuple[str, ...] = ()
    min_weights: int = 256

    def without(self, blocks: Iterable[str]) -> Policy:
        """The same policy with more blocks kept in high precision."""
        return Policy(
            self.linears,
            self.convs,
            self.high,
            tuple(sorted({*self.keep_blocks, *blocks})),
            self.min_weights,
        )

    def choose(self, found: Iterable[Candidate]) -> list[Candidate]:
        """Those that become INT8."""
        wanted = []
        for c in found:
            allowed = self.linears if c.kind == "linear" else self.convs
            if (
                allowed
                and c.block not in self.keep_blocks
                and not any(re.search(p, c.node) for p in self.high)
            ):
                wanted.append(c)
        return wanted


def block_of(name: str) -> str:
    """The block that a node belongs to: its scope up to and including the last numbered part, or the first two parts.

    `semantic.net.blocks.3.mlp.fc1/MatMul` -> `semantic.net.blocks.3`; `motion.net.layer2.0.conv1.0/Conv` -> `motion.net.layer2.0`.
    """
    scope = name.split("/", maxsplit=1)[0]
    parts = scope.split(".")
    # A stage of a residual net is numbered in its own name (layer2), a block of a list by the part after it.
    for i, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: i + 1])
    return ".".join(parts[:2])


def candidates(graph: GraphProto, min_weights: int = 256) -> Iterator[Candidate]:
    """All linears and dense convolutions with constant FP32 weights, in graph order.

    A convolution of 3 input channels is a stem and a grouped one gains nothing: neither is a candidate.
    """
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    for node in graph.node:
        if (
            node.op_type not in {"Conv", "MatMul", "Gemm"}
            or len(node.input) < 2
            or node.input[1] not in weights
        ):
            continue
        weight = weights[node.input[1]]
        size = 1
        for d in weight.dims:
            size *= d
        if size < min_weights:
            continue
        if node.op_type == "Conv":
            if _integer(node, "group", 1) == 1 and len(weight.dims) > 2 and weight.dims[1] > 3:
                yield Candidate(
                    node.name, "conv", block_of(node.name), node.input[0], weight.name, 0, 1
                )
        elif len(weight.dims) == 2:
            if node.op_type == "MatMul":
                yield Candidate(
                    node.name, "linear", block_of(node.name), node.input[0], weight.name, 1, -1
                )
            elif not _integer(node, "transA", 0):
                axis = 0 if _integer(node, "transB", 0) else 1
                yield Candidate(
                    node.name, "linear", block_of(node.name), node.input[0], weight.name, axis, -1
                )


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)
