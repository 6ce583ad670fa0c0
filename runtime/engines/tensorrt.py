"""TensorRT without torch: works on a Jetson, where there is none.

Engines are built on the device that runs them (`trt/build.py`) and kept outside the bundle
(`trt/engine_cache.py`).

Nothing here has run on an NVIDIA device yet: the tests drive it against a fake TensorRT, and
compare every call with the real bindings of 10.3, 10.13 and 11.4.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from gasmcast.errors import MachineError
from gasmcast.runtime.engines.trt.build import ensure_plan
from gasmcast.runtime.engines.trt.cuda import CudaDevice, find_device
from gasmcast.runtime.engines.trt.cuda_stream import CudaStream
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.runtime.engines.trt.execution import TensorRTEngine
from gasmcast.runtime.engines.trt.library import deserialize, load_tensorrt, missing

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["TensorRTEngine", "compile_graph", "missing"]

_log = logging.getLogger(__name__)


def compile_graph(
    path: Path,
    threads: int | None,  # noqa: ARG001 - part of every backend's signature
    sha256: str | None,
    cameras: int | None = None,
    graphs: bool = True,
    *,
    weights_sha256: str | None = None,
) -> TensorRTEngine:
    """Load the engine of a graph from the cache, or build it now, which takes minutes.

    Args:
        path: the ONNX file.
        threads: ignored.
        sha256: checksum that the file must have; None: not checked.
        cameras: largest batch; None: the largest for which the cache has an engine, else 4.
        graphs: capture CUDA graphs.
        weights_sha256: checksum that its external weights must have; required with `sha256` if it
            has some.

    Raises:
        UsageError: TensorRT does not support the graph, or it is not the file of that checksum.
        MachineError: package, driver or device missing; the build or the device failed.
    """
    trt = load_tensorrt()
    device = find_device()  # before trt.Runtime, which crashes the process without a driver
    cache = EngineCache()

    # An engine whose checksum is right can still be refused, for example after a driver update.
    for force in (False, True):
        ensured = ensure_plan(
            path,
            device,
            str(trt.__version__),
            cameras,
            cache,
            sha256=sha256,
            weights_sha256=weights_sha256,
            force=force,
        )
        engine = deserialize(trt, ensured.plan)
        if engine is not None:
            line = f"tensorrt {trt.__version__} on {device}, {ensured.key.precision}"
            return _open(trt, device, engine, line, graphs)
        _log.warning(
            "%s: TensorRT does not take its engine from the cache, building again", path.name
        )
        cache.discard(ensured.key)
    raise MachineError(
        f"{path.name}: TensorRT does not take the engine that it just built.",
        "See the log above, and `gasmcast doctor`.",
    )


def _open(
    trt: ModuleType, device: CudaDevice, engine: trt.ICudaEngine, line: str, graphs: bool
) -> TensorRTEngine:
    # An engine that fails to open must not keep device memory.
    stream = CudaStream(device.index)
    try:
        return TensorRTEngine(trt, stream, engine, line, graphs)
    except BaseException:
        stream.close()
        raise
