"""Check without a GPU that TensorRT takes a graph in the precision that its file asks for.

TensorRT-RTX shares TensorRT's ONNX parser, its strongly typed networks and the front of its
compiler, and builds for named architectures on a machine that has none. Its log names, for every
compiled layer, the ONNX nodes in it and the types of its inputs. So a convolution that the file
quantizes but the engine computes in FP16 is found here. The check proves neither speed nor the
accuracy of NVIDIA's kernels, nor which kernel full TensorRT chooses on a device.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from gasmcast.errors import GasmcastError, MachineError
from gasmcast.export.tensorrt.layer_log import LOWEST_FIRST, CompiledLayer, read_layers
from gasmcast.missing import install_hint
from gasmcast.progress import Progress, silent
from gasmcast.runtime.engines.trt.build import build_plan
from gasmcast.runtime.engines.trt.builder_process import BuildRequest
from gasmcast.runtime.engines.trt.engine_key import profiles_for

__all__ = [
    "EngineCheck",
    "Product",
    "check_engine",
    "checker_missing",
]

TARGETS = ("SM86", "SM89", "SM120")
"""Ampere, Ada and Blackwell cards; TensorRT-RTX knows no Jetson."""
PRODUCTS = frozenset({"Conv", "MatMul", "Gemm"})


@dataclass(frozen=True)
class Product:
    """Convolution or matrix product of a file, and what the engine made of it."""

    node: str
    op: str
    asks: str
    """Precision that the file asks for."""
    got: str
    """Precision that the engine computes in; empty if its layers do not show the node."""
    kernel: str
    """Kind of kernel."""


@dataclass(frozen=True)
class EngineCheck:
    """Result for one graph; truthy when the engine computes every product as the file asks."""

    file: str
    targets: tuple[str, ...]
    library: str = ""
    seconds: float = 0.0
    plan_bytes: int = 0
    products: tuple[Product, ...] = ()
    failure: str = ""
    """Why there is no engine; empty if there is one."""

    def __bool__(self) -> bool:
        return not self.failure and not self.lost

    @property
    def lost(self) -> tuple[Product, ...]:
        """Products in a higher precision than asked for, which is slower, or in none."""
        return tuple(product for product in self.products if _is_lost(product))

    def count(self, op: str | None = None) -> dict[str, int]:
        """Return the number of products (of one operator) by the precision of the engine."""
        return dict(Counter(p.got for p in self.products if op in {None, p.op}))

    def count_matrix_products(self) -> dict[str, int]:
        """Return the number of products other than convolutions by precision."""
        return dict(Counter(p.got for p in self.products if p.op != "Conv"))

    def __str__(self) -> str:
        if self.failure:
            return f"{self.file}: no engine ({self.failure})"

        counts = {"convolutions": self.count("Conv"), "products": self.count_matrix_products()}
        parts = [
            f"{sum(by_precision.values())} {name} ({_counts_text(by_precision)})"
            for name, by_precision in counts.items()
            if by_precision
        ]
        text = (
            f"{self.file}: builds for {', '.join(self.targets)}: {', '.join(parts)}; "
            f"{self.library}, {self.seconds:.0f} s"
        )
        if self.lost:
            text += f"; {len(self.lost)} not in the precision asked, first {self.lost[0].node}"
        return text

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a report; of the products, those that are lost."""
        return asdict(self) | {
            "passed": bool(self),
            "convolutions": self.count("Conv"),
            "matrix_products": self.count_matrix_products(),
            "products": [asdict(p) for p in self.lost],
        }


def checker_missing() -> str:
    """Return why engines cannot be checked on this machine; an empty string if they can."""
    if find_spec("tensorrt_rtx"):
        return ""
    return f"the package tensorrt-rtx-cu13 is not installed ({install_hint('engines-check')})"


def check_engine(
    path: Path,
    cameras: int = 4,
    targets: tuple[str, ...] = TARGETS,
    progress: Progress = silent,
) -> EngineCheck:
    """Build one graph with TensorRT-RTX, in a process of its own, and read how it was compiled.

    The engine is discarded.

    Args:
        path: ONNX file.
        cameras: largest batch of the profile.
        targets: architectures to compile for.
        progress: called when the builder enters another phase.

    Returns:
        The result. A graph that cannot be read or built is not an error but a result with a
        `failure`.

    Raises:
        MachineError: TensorRT-RTX is not installed.
    """
    if checker_missing():
        raise MachineError(
            "Engines cannot be checked: the package tensorrt-rtx-cu13 is not installed.",
            install_hint("engines-check"),
        )

    # The log is read from a file: it is too long for a pipe that is shared with the progress.
    with tempfile.TemporaryDirectory(prefix="gasmcast-engine-") as folder:
        log = Path(folder) / "log"
        request = BuildRequest(
            onnx=str(path.resolve()),
            plan=str(Path(folder) / "plan"),
            profiles=profiles_for(cameras)[-1:],
            module="tensorrt_rtx",
            targets=targets,
            log=str(log),
        )
        try:
            built = build_plan(request, progress)
        except GasmcastError as error:
            return EngineCheck(path.name, targets, failure=error.what.rstrip("."))

        # Without the table nothing is proved, even if the engine was built.
        layers = read_layers(log.read_text(encoding="utf-8"))
        if not layers:
            failure = f"{request.module} {built.version} writes no layer table that this reads"
            return EngineCheck(path.name, targets, failure=failure)

    # Weights are not needed to know what a node asks for.
    model = onnx.load(str(path), load_external_data=False)
    return EngineCheck(
        file=path.name,
        targets=targets,
        library=f"tensorrt-rtx {built.version}",
        seconds=built.seconds,
        plan_bytes=built.size,
        products=tuple(_products(model, layers)),
    )


def _is_lost(product: Product) -> bool:
    # A node that no layer shows may have been computed in any type.
    if product.got not in LOWEST_FIRST:
        return True
    return LOWEST_FIRST.index(product.got) > LOWEST_FIRST.index(product.asks)


def _products(model: ModelProto, layers: Mapping[str, CompiledLayer]) -> Iterator[Product]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {t.name: t.data_type for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type

    # A file asks for INT8 by Q/DQ around a product.
    quantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}

    for node in graph.node:
        if node.op_type in PRODUCTS:
            layer = layers.get(node.name, CompiledLayer("", ""))
            yield Product(
                node=node.name,
                op=node.op_type,
                asks=_asked_precision(node, types, quantized),
                got=layer.precision,
                kernel=layer.kernel,
            )


def _asked_precision(node: NodeProto, types: Mapping[str, int], quantized: set[str]) -> str:
    """Return the precision that the file asks a product to be computed in."""
    # Both operands must be dequantized, else the kernel has nothing to multiply in INT8.
    if set(node.input[:2]) <= quantized:
        return "int8"
    if TensorProto.FLOAT16 in {types.get(node.output[0]), types.get(node.input[1])}:
        return "fp16"
    return "fp32"


def _counts_text(by_precision: dict[str, int]) -> str:
    return ", ".join(f"{by_precision[precision]} {precision}" for precision in sorted(by_precision))
