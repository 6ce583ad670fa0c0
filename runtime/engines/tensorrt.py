"""TensorRT without torch: works on a Jetson, where there is none.

Engines are built on the device that runs them (see `build`) and kept outside the bundle (see `cache`). A session has one
stream, page-locked buffers for its largest batch, and for each batch size an execution context of its own: a CUDA
graph is bound to the shapes and addresses that it was captured with. All contexts share one block of device memory, because one
stream runs one of them at a time.

Nothing here has run on an NVIDIA device yet: the tests drive it against a fake TensorRT, and compare every call with the
real bindings of 10.3, 10.13 and 11.4.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines import TensorSpec, check_feeds
from gasmcast.runtime.engines.trt.build import ensure_plan
from gasmcast.runtime.engines.trt.cuda import Cuda, CudaDevice, find_device
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.runtime.engines.trt.library import deserialize, load_tensorrt, missing, numpy_type

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["TensorRTEngine", "compile_graph", "missing"]

log = logging.getLogger(__name__)


@dataclass
class _Batch:
    """An execution context with its batch size set, and its CUDA graph where it has one."""

    context: trt.IExecutionContext
    graph: object | None = None


class TensorRTEngine:
    """A session on a built engine. Batches above the engine's profile run in parts."""

    def __init__(
        self,
        module: ModuleType,
        cuda: Cuda,
        engine: trt.ICudaEngine,
        line: str,
        graphs: bool = True,
    ) -> None:
        """Bind all buffers and run the largest batch once.

        Args:
            module: `tensorrt`.
            cuda: the device; this session closes it.
            engine: deserialized.
            line: what `describe` says, without the batch.
            graphs: capture CUDA graphs.

        Raises:
            MachineError: out of memory, or the device failed.
        """
        trt = module
        self._trt, self._cuda, self._engine, self._line, self._graphs = (
            trt,
            cuda,
            engine,
            line,
            graphs,
        )
        self._lock = Lock()
        self._batches: dict[int, _Batch] = {}
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._inputs = [
            name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        self._outputs = [name for name in names if name not in self._inputs]
        self._profiles = self._read_profiles()
        self.most = max(high for _, high in self._profiles)
        self._dtypes = {name: numpy_type(trt, engine.get_tensor_dtype(name)) for name in names}
        self._scratch_size = int(engine.device_memory_size_v2)
        self._scratch = cuda.on_device(self._scratch_size)
        largest = self._shaped_context(self.most)
        shapes = {name: tuple(largest.get_tensor_shape(name)) for name in names}
        self._host = {
            name: cuda.on_host(shape, self._dtypes[name]) for name, shape in shapes.items()
        }
        for array in self._host.values():
            array.fill(0)  # the first runs must not meet whatever lay there
        self._device = {name: cuda.on_device(array.nbytes) for name, array in self._host.items()}
        self.inputs = {name: self._spec(name, shapes[name]) for name in self._inputs}
        self.outputs = {
            name: TensorSpec((None, *shapes[name][1:]), np.dtype(np.float32))
            for name in self._outputs
        }
        self._batches[self.most] = self._warm(largest, self.most)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Raises:
            UsageError: an input is missing, unknown, or of another shape or dtype.
            MachineError: the device failed.
        """
        count = check_feeds(self.inputs, feeds)
        results = {
            name: np.empty((count, *self._host[name].shape[1:]), np.float32)
            for name in self._outputs
        }
        with self._lock:
            self._cuda.use()
            for start in range(0, count, self.most):
                size = min(self.most, count - start)
                if size not in self._batches:
                    self._batches[size] = self._warm(self._shaped_context(size), size)
                for name in self._inputs:
                    self._host[name][:size] = feeds[name][start : start + size]
                batch = self._batches[size]
                if batch.graph is None:
                    self._enqueue(batch.context, size)
                else:
                    self._cuda.launch(batch.graph)
                self._cuda.wait()
                for name in self._outputs:
                    results[name][start : start + size] = self._host[name][:size]
        return results

    def describe(self) -> str:
        """One line: backend, version, device, batches, whether CUDA graphs are used."""
        eager = sorted(size for size, batch in self._batches.items() if batch.graph is None)
        how = (
            "CUDA graphs" if not eager else f"no CUDA graph for batch {', '.join(map(str, eager))}"
        )
        return f"{self._line}, batch 1..{self.most}, {how}"

    def close(self) -> None:
        """Give the device's memory back; the session is over."""
        with self._lock:
            self._batches.clear()
            self._host.clear()
            self._cuda.close()

    def _read_profiles(self) -> list[tuple[int, int]]:
        """The (least, most) batch of each optimization profile; of a graph with a fixed batch, that batch."""
        engine, first = self._engine, self._inputs[0]
        fixed = self._declared(first)[0]
        if fixed != -1:
            return [(fixed, fixed)]
        found = []
        for index in range(engine.num_optimization_profiles):
            low, _, high = (tuple(dims) for dims in engine.get_tensor_profile_shape(first, index))
            found.append((int(low[0]), int(high[0])))
        return found

    def _declared(self, name: str) -> tuple[int, ...]:
        return tuple(int(size) for size in self._engine.get_tensor_shape(name))

    def _spec(self, name: str, shape: tuple[int, ...]) -> TensorSpec:
        batch = None if self._declared(name)[0] == -1 else shape[0]
        return TensorSpec((batch, *shape[1:]), self._dtypes[name])

    def _shaped_context(self, size: int) -> trt.IExecutionContext:
        """A context of its own with the batch set, all shapes known and the shared memory given."""
        trt, engine = self._trt, self._engine
        index = next(
            (i for i, (low, high) in enumerate(self._profiles) if low <= size <= high), None
        )
        if index is None:
            spans = ", ".join(f"{low}..{high}" for low, high in self._profiles)
            raise UsageError(
                f"A batch of {size} is in no profile of this engine ({spans}).",
                "gasmcast engine build BUNDLE --streams N",
            )
        context = engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise MachineError(
                f"TensorRT gave no execution context for a batch of {size}.",
                "Use fewer streams, or close what else uses the device.",
            )
        if not context.set_optimization_profile_async(index, self._cuda.stream):
            raise MachineError(f"TensorRT refused the batch profile {index}.")
        self._cuda.wait()
        for name in self._inputs:
            if not context.set_input_shape(name, (size, *self._declared(name)[1:])):
                raise MachineError(
                    f"TensorRT refused a batch of {size} for {name}.",
                    "gasmcast engine build BUNDLE --force",
                )
        unknown = context.infer_shapes()
        if unknown:
            raise MachineError(
                f"TensorRT cannot infer the shapes of {', '.join(unknown)}.",
                "gasmcast engine build BUNDLE --force",
            )
        context.set_device_memory(self._scratch, self._scratch_size)
        return context

    def _warm(self, context: trt.IExecutionContext, size: int) -> _Batch:
        """Bind the buffers, run twice (the first enqueue after a change of shapes allocates), then capture."""
        for name, address in self._device.items():
            if not context.set_tensor_address(name, address):
                raise MachineError(f"TensorRT refused the buffer of {name}.")
        for _ in range(2):
            self._enqueue(context, size)
        self._cuda.wait()
        graph = self._cuda.capture(lambda: self._enqueue(context, size)) if self._graphs else None
        return _Batch(context, graph)

    def _enqueue(self, context: trt.IExecutionContext, size: int) -> None:
        for name in self._inputs:
            self._cuda.upload(self._device[name], self._host[name][:size])
        if not context.execute_async_v3(self._cuda.stream):
            raise MachineError(
                "TensorRT could not enqueue the network.",
                "See the log above; gasmcast engine build BUNDLE --force",
            )
        for name in self._outputs:
            self._cuda.download(self._host[name][:size], self._device[name])


def compile_graph(
    path: Path,
    threads: int | None,
    sha256: str | None,
    streams: int | None = None,
    graphs: bool = True,
) -> TensorRTEngine:  # noqa: ARG001
    """A session on the engine of a graph: from the cache, or built now, which takes minutes.

    Args:
        path: the ONNX file.
        threads: of no use here.
        sha256: the file's checksum, where it is known already.
        streams: the largest batch; None: the largest of which an engine is there, else 4.
        graphs: capture CUDA graphs.

    Raises:
        UsageError: TensorRT does not take the graph.
        MachineError: package, driver or device missing; the build or the device failed.
    """
    trt = load_tensorrt()
    device = find_device()  # before trt.Runtime: without a driver it crashes the process
    cache = EngineCache()
    for force in (False, True):
        ensured = ensure_plan(
            path, device, str(trt.__version__), streams, cache, sha256=sha256, force=force
        )
        engine = deserialize(trt, ensured.plan)
        if engine is not None:
            line = f"tensorrt {trt.__version__} on {device}, {ensured.key.precision}"
            return _session(trt, device, engine, line, graphs)
        log.warning(
            "%s: TensorRT does not take its engine from the cache, building again", path.name
        )
        cache.discard(ensured.key)
    raise MachineError(
        f"{path.name}: TensorRT does not take the engine that it just built.",
        "See the log above, and `gasmcast doctor`.",
    )


def _session(
    trt: ModuleType, device: CudaDevice, engine: trt.ICudaEngine, line: str, graphs: bool
) -> TensorRTEngine:
    cuda = Cuda(device.index)
    try:
        return TensorRTEngine(trt, cuda, engine, line, graphs)
    except BaseException:
        cuda.close()
        raise
