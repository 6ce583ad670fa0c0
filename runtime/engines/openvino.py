"""OpenVINO on the CPU: the default of a machine without an NVIDIA GPU.

Each network is compiled for one row, and a batch is computed row by row. For latency, a row runs on
all threads; for throughput, several rows run at the same time, each on threads of its own. A free
batch was slower for one row, and less exact in INT8 (docs/decisions/0198-one-row.md).

What OpenVINO compiles is kept in the user's cache, outside the bundle, in a folder named after the
graph's checksum and the version of OpenVINO, so that a second start maps it from disk. The file is
read once: what is compiled is what was hashed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gasmcast.errors import UsageError
from gasmcast.runtime.engines.graph_files import verified_graph
from gasmcast.runtime.engines.openvino_cache import compiled_cache
from gasmcast.runtime.engines.openvino_engine import OpenVinoEngine, last_line
from gasmcast.runtime.engines.openvino_import import load_openvino, the_core
from gasmcast.runtime.engines.openvino_linears import lacks_vnni, linears_to_convolutions
from gasmcast.runtime.engines.shortage import raise_if_shortage

__all__ = ["OpenVinoEngine", "compile_graph", "missing", "missing_bf16", "the_core"]


def missing() -> str:
    """Return why OpenVINO cannot be used here; empty if it can."""
    if find_spec("openvino"):
        return ""
    return "the package openvino is not installed (pip install openvino)"


def missing_bf16() -> str:
    """Return why nothing can be computed in BF16 here; empty if it can."""
    if why := missing():
        return why
    if "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return ""
    return "this processor does not compute in BF16 (AVX512_BF16 or AMX)"


def compile_graph(
    path: Path,
    threads: int | None,
    sha256: str | None,
    properties: Mapping[str, Any] | None = None,
    *,
    bf16: bool = False,
    cache: bool = True,
    weights_sha256: str | None = None,
    throughput: bool = False,
) -> OpenVinoEngine:
    """Compile an ONNX file, or load it from the cache.

    Args:
        path: the ONNX file.
        threads: CPU threads; None: one per core.
        sha256: checksum that the file must have; None: not checked.
        properties: further OpenVINO properties, for measurements.
        bf16: compute in BF16 what the file leaves in FP32; inputs and outputs keep their types.
        cache: keep what is compiled.
        weights_sha256: checksum that its external weights must have; required with `sha256` if it
            has some.
        throughput: compute several rows at the same time, each on some of the threads; False: one
            row at a time, on all of them.

    Raises:
        UsageError: OpenVINO cannot read the file, or it is not the file of that checksum.
        MachineError: too little memory or too few threads.
    """
    openvino = load_openvino()
    version = openvino.get_version().split("-")[0]
    settings = _properties(threads, bf16=bf16, throughput=throughput)

    try:
        with verified_graph(path, sha256, weights_sha256) as copy:
            model = the_core().read_model(copy.source)
        graph = _Graph(model, openvino)

        # The key is the digest of what was read, so a file that was swapped has a key of its own.
        hint = settings["INFERENCE_PRECISION_HINT"]
        key = f"{copy.sha256[:24]}-{version}-{hint}"
        with compiled_cache(key) if cache else nullcontext() as folder:
            if folder is not None:
                settings["CACHE_DIR"] = str(folder)
            return graph.compile(version, {**settings, **(properties or {})})
    except (RuntimeError, MemoryError) as error:
        raise_if_shortage(error, f"OpenVINO cannot open {path.name}")
        raise UsageError(
            f"OpenVINO cannot read {path} ({last_line(error)}).", "Export the bundle again."
        ) from None


def _properties(threads: int | None, *, bf16: bool, throughput: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
        # No cache of kernels shared among nodes: with it, 2026.4 gave 34 dB on the complete graph
        # of `fusion` = add, without it 134 dB.
        "CPU_RUNTIME_CACHE_CAPACITY": "0",
        # No generated kernels for attention: for heads with few tokens 2026.4 gave 37 to 78 dB,
        # without them 120 dB and more. No backbone or head became slower.
        "SNIPPETS_MODE": "DISABLE",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    return properties


class _Graph:
    """A graph that OpenVINO has read, ready to be compiled.

    Args:
        model: what OpenVINO read.
        openvino: the package.
    """

    def __init__(self, model: Any, openvino: Any) -> None:  # noqa: ANN401 - untyped
        self._model = model
        self._outputs = [port.get_any_name() for port in model.outputs]
        self._stored_fp16 = any(
            port.get_element_type() == openvino.Type.f16
            for node in model.get_ops()
            for port in node.outputs()
        )
        if lacks_vnni():
            linears_to_convolutions(model)

    def compile(self, version: str, settings: dict[str, Any]) -> OpenVinoEngine:
        """Compile it for one row."""
        shapes = {
            port.get_any_name(): [1, *list(port.get_partial_shape())[1:]]
            for port in self._model.inputs
        }
        self._model.reshape(shapes)

        core = the_core()
        return OpenVinoEngine(
            core.compile_model(self._model, "CPU", settings),
            self._outputs,
            version,
            core.get_property("CPU", "FULL_DEVICE_NAME"),
            stored_fp16=self._stored_fp16,
        )
