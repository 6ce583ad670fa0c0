"""OpenVINO on the CPU: the default of a machine without an NVIDIA GPU.

Compiled for latency: one stream over all threads. What OpenVINO compiles is kept in this user's cache, outside the bundle, in a
folder named after the graph's checksum and the version of OpenVINO, so a second start maps it from disk.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.files import sha256_of
from gasmcast.runtime.engines import TensorSpec, check_feeds
from gasmcast.runtime.engines.openvino_linears import lacks_vnni, linears_to_convolutions
from gasmcast.runtime.engines.trt.engine_cache import graph_files, user_cache

__all__ = ["OpenVinoEngine", "compile_graph", "missing", "missing_bf16", "the_core"]


_ALONE_BYTES = 8_000_000
"""A network above this, weights beside it included, fills the cores with one row. More rows at once gave 0 to 15 % and took 250 MB each at
real size: it is compiled for one row, which also is what OpenVINO's low-precision passes are surest of. Small networks gain threefold from
batches."""


def missing() -> str:
    """Why OpenVINO cannot be used here; empty when it can."""
    return (
        ""
        if find_spec("openvino")
        else "the package openvino is not installed (pip install openvino)"
    )


def missing_bf16() -> str:
    """Why nothing can be computed in BF16 here; empty when it can."""
    if why := missing():
        return why
    able = "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "" if able else "this processor does not compute in BF16 (AVX512_BF16 or AMX)"


@cache
def the_core() -> Any:  # noqa: ANN401 - the package is untyped
    """OpenVINO's `Core`, one a process.

    On a CPU with AVX-512 each Core gives the thread that makes it a stack for signal handlers, and takes it away when it goes. Of two
    Cores that overlap, the second to go puts back the stack of the first, freed by then: the next signal (SIGTERM, SIGCHLD) ends the
    process with SIGSEGV. Seen with OpenVINO 2026.4; `tests/runtime/engines/test_cpu_engines.py` keeps it so.
    """
    import openvino  # noqa: PLC0415 - half a second, and another backend may be in use

    return openvino.Core()


def _cache_folder(key: str) -> Path | None:
    """OpenVINO's folder in this user's cache, made if need be; None where nothing can be written."""
    folder = user_cache("openvino", key)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


class OpenVinoEngine:
    """A network compiled by OpenVINO.

    Args:
        compiled: the network.
        outputs: their names in the file, in order: what is compiled may bear those of nodes that were fused into them, and any one first.
        version: of OpenVINO.
        device: the processor's name.
        one_row: it was compiled for a batch of 1 only; larger batches are run row by row.
        stored_fp16: the file has FP16 in it, which is computed in FP32.
    """

    def __init__(
        self,
        compiled: Any,  # noqa: ANN401 - the package is untyped
        outputs: list[str],
        version: str,
        device: str,
        *,
        one_row: bool = False,
        stored_fp16: bool = False,
    ) -> None:
        self.inputs = {port.get_any_name(): _spec(port) for port in compiled.inputs}
        self.outputs = {
            name: _spec(port) for name, port in zip(outputs, compiled.outputs, strict=True)
        }
        self._request = compiled.create_infer_request()
        self._lock = Lock()
        self._rows_alone = one_row
        if one_row:
            self.inputs, self.outputs = _free_batch(self.inputs), _free_batch(self.outputs)
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        rest = (
            ", the rest in BF16"
            if compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "bf16"
            else ""
        )
        widened = "; its FP16 computed in FP32" if stored_fp16 else ""
        self._line = f"openvino {version} on {device}, {threads} threads{rest}{widened}"

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller."""
        batch = check_feeds(self.inputs, feeds)
        if self._rows_alone and batch > 1:
            rows = [
                self._run({name: array[i : i + 1] for name, array in feeds.items()})
                for i in range(batch)
            ]
            return {name: np.concatenate([row[name] for row in rows]) for name in self.outputs}
        return self._run(feeds)

    def _run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        with self._lock:  # inputs are read where they lie; outputs are the request's own memory, so they are copied
            try:
                results = self._request.infer(
                    {n: np.ascontiguousarray(a) for n, a in feeds.items()},
                    share_inputs=True,
                    share_outputs=True,
                )
            except RuntimeError as error:
                raise MachineError(
                    f"OpenVINO failed ({_first_line(error)}).", "Try --engine onnxruntime."
                ) from None
            return {name: np.array(results[name], dtype=np.float32) for name in self.outputs}

    def times_ms(self) -> Counter[str]:
        """Milliseconds of the last run by kind of layer and number type, as OpenVINO counts them; it must be compiled with `PERF_COUNT`."""
        found: Counter[str] = Counter()
        for node in self._request.profiling_info:
            found[f"{node.node_type} {node.exec_type.rpartition('_')[2]}"] += (
                node.real_time.total_seconds() * 1000.0
            )
        return found

    def describe(self) -> str:
        """One line: backend, version, device, threads."""
        return self._line


def compile_graph(
    path: Path,
    threads: int | None,
    sha256: str | None,
    properties: Mapping[str, Any] | None = None,
    *,
    bf16: bool = False,
    cache: bool = True,
) -> OpenVinoEngine:
    """Compile an ONNX file, or take it from the cache.

    Args:
        path: the ONNX file.
        threads: CPU threads; None: one a core.
        sha256: the file's checksum, where it is known already.
        properties: more OpenVINO properties, for measurements.
        bf16: what the file leaves in FP32 is computed in BF16; inputs and outputs stay as they are.
        cache: keep what is compiled.

    Raises:
        UsageError: OpenVINO cannot read the file.
    """
    import openvino  # noqa: PLC0415 - half a second, and another backend may be in use

    core = the_core()
    version = openvino.get_version().split("-")[0]
    # No cache of kernels shared among nodes: with it 2026.4 gave 34 dB on the complete graph of `fusion` = add, without it 134 dB.
    wanted: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "CPU_RUNTIME_CACHE_CAPACITY": "0"}
    wanted["INFERENCE_PRECISION_HINT"] = "bf16" if bf16 else "f32"
    if threads:
        wanted["INFERENCE_NUM_THREADS"] = threads
    if cache and (
        folder := _cache_folder(
            f"{(sha256 or sha256_of(path))[:24]}-{version}-{wanted['INFERENCE_PRECISION_HINT']}"
        )
    ):
        wanted["CACHE_DIR"] = str(folder)
    wanted.update(properties or {})
    device = core.get_property("CPU", "FULL_DEVICE_NAME")
    trouble = ""
    # Small networks keep an open batch, unless OpenVINO's low-precision passes fail on it, as they do on some.
    for alone in (
        (True,)
        if sum(file.stat().st_size for file in graph_files(path)) > _ALONE_BYTES
        else (False, True)
    ):
        try:
            model = core.read_model(str(path))
            outputs = [port.get_any_name() for port in model.outputs]
            half = any(
                port.get_element_type() == openvino.Type.f16
                for node in model.get_ops()
                for port in node.outputs()
            )
            rewritten = linears_to_convolutions(model) if lacks_vnni() else 0
            if alone:
                model.reshape(
                    {
                        port.get_any_name(): [1, *list(port.get_partial_shape())[1:]]
                        for port in model.inputs
                    }
                )
            # A network as it is in the file is compiled from its path: what is in the cache is then found without looking at its weights.
            compiled = core.compile_model(model if alone or rewritten else str(path), "CPU", wanted)
            return OpenVinoEngine(
                compiled, outputs, version, device, one_row=alone, stored_fp16=half
            )
        except RuntimeError as error:  # noqa: PERF203 - two turns
            trouble = _first_line(error)
    raise UsageError(f"OpenVINO cannot read {path} ({trouble}).", "Export the bundle again.")


def _spec(port: Any) -> TensorSpec:  # noqa: ANN401 - the package is untyped
    shape = tuple(int(d.get_length()) if d.is_static else None for d in port.get_partial_shape())
    return TensorSpec(shape, np.dtype(port.get_element_type().to_dtype()))


def _free_batch(specs: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
    return {name: TensorSpec((None, *spec.shape[1:]), spec.dtype) for name, spec in specs.items()}


def _first_line(error: Exception) -> str:
    """The last sentence of an OpenVINO message, which opens with source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
