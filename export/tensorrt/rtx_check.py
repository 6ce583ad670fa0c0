"""Does TensorRT take a graph, and in the precision that the file asks for? Answered without a GPU, by TensorRT-RTX.

TensorRT-RTX shares TensorRT's ONNX parser, its strongly typed networks and its compiler's front, and builds for named architectures on a
machine that has none. Its log names, for every compiled layer, the ONNX nodes in it and the types of its inputs: so a convolution
that the file quantizes but the engine computes in FP16 is found here. It proves neither speed nor the accuracy of NVIDIA's
kernels, nor which kernel full TensorRT chooses on a device.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, TensorProto

from gasmcast.errors import GasmcastError, MachineError
from gasmcast.runtime.engines.trt.build import build_plan
from gasmcast.runtime.engines.trt.builder_process import BuildRequest
from gasmcast.runtime.engines.trt.engine_key import profiles_for

__all__ = [
    "PRODUCTS",
    "TARGETS",
    "EngineCheck",
    "Product",
    "check_engine",
    "checker_missing",
    "read_layers",
]

TARGETS = ("SM86", "SM89", "SM120")
"""Ampere, Ada and Blackwell cards; TensorRT-RTX knows no Jetson."""
PRODUCTS = frozenset({"Conv", "MatMul", "Gemm"})
_TYPES = {"Int8": "int8", "FP8": "fp8", "Half": "fp16", "BFloat16": "bf16", "Float": "fp32"}
_LOWEST = ("int8", "fp8", "fp16", "bf16", "fp32")
_LAYER = re.compile(
    r"Name: (?P<name>.+?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: .*Metadata: (?P<nodes>.*)$"
)


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product of the file: the precision it `asks` for and the one it `got`, and the kind of kernel."""

    node: str
    op: str
    asks: str
    got: str
    kernel: str


@dataclass(frozen=True)
class EngineCheck:
    """Truthy when the engine was built and computes every product in the precision that the file asks for."""

    file: str
    targets: tuple[str, ...]
    library: str = ""
    seconds: float = 0.0
    plan_bytes: int = 0
    products: tuple[Product, ...] = ()
    failure: str = ""

    def __bool__(self) -> bool:
        return not self.failure and not self.lost

    @property
    def lost(self) -> tuple[Product, ...]:
        """Products that the engine computes in a higher precision than asked (slower than promised), or that its layers do not show."""
        return tuple(
            p
            for p in self.products
            if p.got not in _LOWEST or _LOWEST.index(p.got) > _LOWEST.index(p.asks)
        )

    def count(self, op: str | None = None) -> dict[str, int]:
        """How many products (of one operator) the engine computes in each precision."""
        return dict(Counter(p.got for p in self.products if op in {None, p.op}))

    def __str__(self) -> str:
        if self.failure:
            return f"{self.file}: no engine ({self.failure})"
        convs, rest = self.count("Conv"), Counter(p.got for p in self.products if p.op != "Conv")
        parts = [
            f"{sum(found.values())} {name} ({_counts(found)})"
            for name, found in (("convolutions", convs), ("products", rest))
            if found
        ]
        text = f"{self.file}: builds for {', '.join(self.targets)}: {', '.join(parts)}; {self.library}, {self.seconds:.0f} s"
        return text + (
            f"; {len(self.lost)} not in the precision asked, first {self.lost[0].node}"
            if self.lost
            else ""
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for a report."""
        return asdict(self) | {
            "passed": bool(self),
            "convolutions": self.count("Conv"),
            "matrix_products": dict(Counter(p.got for p in self.products if p.op != "Conv")),
            "products": [asdict(p) for p in self.lost],
        }


def checker_missing() -> str:
    """Why engines cannot be checked here; empty when they can."""
    return (
        ""
        if find_spec("tensorrt_rtx")
        else 'the package tensorrt-rtx-cu13 is not installed (pip install "gasmcast[engines-check]")'
    )


def check_engine(
    path: Path,
    streams: int = 4,
    targets: tuple[str, ...] = TARGETS,
    on_phase: Callable[[str], None] = lambda _: None,
) -> EngineCheck:
    """Build one graph with TensorRT-RTX, in a process of its own, and read what became of its products. The engine is thrown away.

    Args:
        path: an ONNX file.
        streams: the largest batch of the profile.
        targets: architectures to compile for.
        on_phase: takes a line whenever the builder enters another phase.

    Returns:
        What was built; a graph that cannot be read or built is not an error but a result with its `failure`.

    Raises:
        MachineError: TensorRT-RTX is not installed.
    """
    if checker_missing():
        raise MachineError(f"Engines cannot be checked: {checker_missing()}.")
    with tempfile.TemporaryDirectory(prefix="gasmcast-engine-") as folder:
        log = Path(folder) / "log"
        request = BuildRequest(
            onnx=str(path.resolve()),
            plan=str(Path(folder) / "plan"),
            profiles=profiles_for(streams)[-1:],
            module="tensorrt_rtx",
            targets=targets,
            log=str(log),
        )
        try:
            built = build_plan(request, on_phase)
        except GasmcastError as error:
            return EngineCheck(path.name, targets, failure=error.what.rstrip("."))
        layers = read_layers(log.read_text(encoding="utf-8"))
        if not layers:
            return EngineCheck(
                path.name,
                targets,
                failure=f"{request.module} {built.version} writes no layer table that this reads",
            )
        products = tuple(_products(onnx.load(str(path), load_external_data=False), layers))
        return EngineCheck(
            path.name, targets, f"tensorrt-rtx {built.version}", built.seconds, built.size, products
        )


def read_layers(log: str) -> dict[str, tuple[str, str]]:
    """ONNX node -> (kernel, precision) out of the builder's verbose log; empty where it has no layer table.

    A node may be spread over several layers (copies, casts); the one that multiplies is meant. `kgen` is a generated kernel, such as an
    attention fused whole; its precision is the lowest of its inputs, as for every other.
    """
    start = log.rfind("\nLayers:\n")
    table = log[start : log.find("\nI/O Tensors:", start)] if start >= 0 else ""
    found: dict[str, tuple[str, str]] = {}
    for line in table.splitlines():
        match = _LAYER.match(line)
        if match is None:
            continue
        types = [_TYPES[t] for t in re.findall(r"Datatype: (\w+)", match["inputs"]) if t in _TYPES]
        entry = (match["kind"], min(types, key=_LOWEST.index, default=""))
        for node in re.findall(r"\[ONNX Layer: ([^\]]+)\]", match["nodes"]):
            if node not in found or _rank(entry[0]) > _rank(found[node][0]):
                found[node] = entry
    return found


def _rank(kernel: str) -> int:
    return (
        2 if kernel in {"correlation", "gemm", "runtime_fusion"} else 1 if kernel == "kgen" else 0
    )


def _products(model: ModelProto, layers: dict[str, tuple[str, str]]) -> Iterator[Product]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {t.name: t.data_type for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    quantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type not in PRODUCTS:
            continue
        if set(node.input[:2]) <= quantized:
            asks = "int8"
        else:
            asks = (
                "fp16"
                if TensorProto.FLOAT16 in {types.get(node.output[0]), types.get(node.input[1])}
                else "fp32"
            )
        kernel, got = layers.get(node.name, ("", ""))
        yield Product(node.name, node.op_type, asks, got, kernel)


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{found[precision]} {precision}" for precision in sorted(found))
