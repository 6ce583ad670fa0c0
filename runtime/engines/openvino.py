"""OpenVINO on the CPU: the default of a machine without an NVIDIA GPU.

Networks are compiled for latency: one inference stream over all threads. What OpenVINO compiles is
kept in the user's cache, outside the bundle, in a folder named after the graph's checksum and the
version of OpenVINO, so that a second start maps it from disk.
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
from gasmcast.runtime.engines.graph_files import graph_files
from gasmcast.runtime.engines.openvino_linears import lacks_vnni, linears_to_convolutions
from gasmcast.runtime.engines.protocol import TensorSpec, check_feeds
from gasmcast.runtime.engines.user_cache import user_cache

__all__ = ["OpenVinoEngine", "compile_graph", "missing", "missing_bf16", "the_core"]


_SINGLE_ROW_BYTES = 8_000_000
"""Networks above this size (with external weights) are compiled for a batch of 1.

One row then fills all cores: larger batches gained 0 to 15 % and took 250 MB each at real size. A
batch of 1 is also what OpenVINO's low-precision passes handle most reliably. Small networks keep
the batch, which makes them three times as fast.
"""


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


@cache
def the_core() -> Any:  # noqa: ANN401 - the package is untyped
    """Return the process's one OpenVINO `Core`.

    On a CPU with AVX-512 each Core installs a signal stack for the thread that creates it, and
    restores the previous one when it is destroyed. If two Cores overlap, the second to be destroyed
    restores the stack of the first, which is freed by then: the next signal (SIGTERM, SIGCHLD)
    ends the process with SIGSEGV. Seen with OpenVINO 2026.4; `test_cpu_engines.py` has the test.
    """
    import openvino  # noqa: PLC0415 - takes half a second, and another backend may be in use

    return openvino.Core()


class OpenVinoEngine:
    """A network compiled by OpenVINO.

    Args:
        compiled: the compiled model.
        outputs: output names of the file in order. The compiled model may list the names of nodes
            that were fused into an output, in any order.
        version: of OpenVINO.
        device: name of the processor.
        single_row: compiled for a batch of 1; larger batches run row by row.
        stored_fp16: the file contains FP16, which is computed in FP32.
    """

    def __init__(
        self,
        compiled: Any,  # noqa: ANN401 - the package is untyped
        outputs: list[str],
        version: str,
        device: str,
        *,
        single_row: bool = False,
        stored_fp16: bool = False,
    ) -> None:
        self.inputs = {port.get_any_name(): _spec(port) for port in compiled.inputs}
        self.outputs = {
            name: _spec(port) for name, port in zip(outputs, compiled.outputs, strict=True)
        }
        self._request = compiled.create_infer_request()
        self._lock = Lock()
        self._single_row = single_row
        if single_row:
            self.inputs, self.outputs = _free_batch(self.inputs), _free_batch(self.outputs)

        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        rest = ", the rest in BF16" if hint == "bf16" else ""
        widened = "; its FP16 computed in FP32" if stored_fp16 else ""
        self._line = f"openvino {version} on {device}, {threads} threads{rest}{widened}"

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Raises:
            UsageError: an input is missing, unknown, or has another shape or dtype.
            MachineError: OpenVINO failed.
        """
        batch = check_feeds(self.inputs, feeds)
        if not self._single_row or batch == 1:
            return self._run(feeds)

        rows = [
            self._run({name: array[row : row + 1] for name, array in feeds.items()})
            for row in range(batch)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in self.outputs}

    def _run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        # Inputs are shared without a copy; outputs are the request's own memory and are copied.
        with self._lock:
            try:
                results = self._request.infer(
                    {name: np.ascontiguousarray(array) for name, array in feeds.items()},
                    share_inputs=True,
                    share_outputs=True,
                )
            except RuntimeError as error:
                raise MachineError(
                    f"OpenVINO failed ({_last_line(error)}).", "Try --engine onnxruntime."
                ) from None
            return {name: np.array(results[name], dtype=np.float32) for name in self.outputs}

    def times_ms(self) -> Counter[str]:
        """Return milliseconds of the last run by kind of layer and number type.

        The network must be compiled with `PERF_COUNT`.
        """
        times: Counter[str] = Counter()
        for node in self._request.profiling_info:
            number_type = node.exec_type.rpartition("_")[2]
            times[f"{node.node_type} {number_type}"] += node.real_time.total_seconds() * 1000.0
        return times

    def describe(self) -> str:
        """Return one line: backend, version, device, threads."""
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
    """Compile an ONNX file, or load it from the cache.

    Args:
        path: the ONNX file.
        threads: CPU threads; None: one per core.
        sha256: checksum of the file, if already known.
        properties: further OpenVINO properties, for measurements.
        bf16: compute in BF16 what the file leaves in FP32; inputs and outputs keep their types.
        cache: keep what is compiled.

    Raises:
        UsageError: OpenVINO cannot read the file.
    """
    import openvino  # noqa: PLC0415 - takes half a second, and another backend may be in use

    version = openvino.get_version().split("-")[0]
    settings = _properties(threads, bf16=bf16)
    if cache:
        digest = (sha256 or sha256_of(path))[:24]
        folder = _cache_folder(f"{digest}-{version}-{settings['INFERENCE_PRECISION_HINT']}")
        if folder is not None:
            settings["CACHE_DIR"] = str(folder)
    settings.update(properties or {})

    # Small networks keep a free batch, unless OpenVINO's low-precision passes fail on it.
    size = sum(file.stat().st_size for file in graph_files(path))
    attempts = (True,) if size > _SINGLE_ROW_BYTES else (False, True)
    reason = ""
    for single_row in attempts:
        try:
            return _compile(path, version, settings, single_row=single_row)
        except RuntimeError as error:  # noqa: PERF203 - at most two attempts
            reason = _last_line(error)
    raise UsageError(f"OpenVINO cannot read {path} ({reason}).", "Export the bundle again.")


def _properties(threads: int | None, *, bf16: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        # No cache of kernels shared among nodes: with it, 2026.4 gave 34 dB on the complete graph
        # of `fusion` = add, without it 134 dB.
        "CPU_RUNTIME_CACHE_CAPACITY": "0",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    return properties


def _cache_folder(key: str) -> Path | None:
    """Return OpenVINO's folder in the user's cache, created if missing; None if not writable."""
    folder = user_cache("openvino", key)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _compile(
    path: Path, version: str, settings: dict[str, Any], *, single_row: bool
) -> OpenVinoEngine:
    """Compile a file for any batch, or for a batch of 1."""
    import openvino  # noqa: PLC0415 - as in `compile_graph`

    core = the_core()
    model = core.read_model(str(path))
    outputs = [port.get_any_name() for port in model.outputs]
    stored_fp16 = any(
        port.get_element_type() == openvino.Type.f16
        for node in model.get_ops()
        for port in node.outputs()
    )

    rewritten = linears_to_convolutions(model) if lacks_vnni() else 0
    if single_row:
        shapes = {
            port.get_any_name(): [1, *list(port.get_partial_shape())[1:]] for port in model.inputs
        }
        model.reshape(shapes)

    # An unchanged network is compiled from its path: OpenVINO then finds it in the cache without
    # reading its weights.
    source = model if single_row or rewritten else str(path)
    return OpenVinoEngine(
        core.compile_model(source, "CPU", settings),
        outputs,
        version,
        core.get_property("CPU", "FULL_DEVICE_NAME"),
        single_row=single_row,
        stored_fp16=stored_fp16,
    )


def _spec(port: Any) -> TensorSpec:  # noqa: ANN401 - the package is untyped
    shape = tuple(int(d.get_length()) if d.is_static else None for d in port.get_partial_shape())
    return TensorSpec(shape, np.dtype(port.get_element_type().to_dtype()))


def _free_batch(specs: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
    return {name: TensorSpec((None, *spec.shape[1:]), spec.dtype) for name, spec in specs.items()}


def _last_line(error: Exception) -> str:
    """Return the last sentence of an OpenVINO message; source positions come before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
