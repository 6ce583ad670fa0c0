"""Broken rules of one graph, and the report of all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onnx import NodeProto

__all__ = ["RuleBreak", "RuleReport", "node_place"]


@dataclass(frozen=True)
class RuleBreak:
    """Rule that does not hold."""

    rule: str
    """Short name of the rule."""
    where: str
    """Node, tensor or file."""
    what: str
    """Explanation with a remedy."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what} [{self.rule}]"


@dataclass(frozen=True)
class RuleReport:
    """Result of checking one graph; truthy when every rule holds."""

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
        """Return plain data for a report."""
        return {
            "file": self.file,
            "nodes": self.nodes,
            "passed": bool(self),
            "breaks": [asdict(b) for b in self.breaks],
        }


def node_place(node: NodeProto) -> str:
    """Return the name of a node; of its first output if it has none."""
    return str(node.name or node.output[0])
