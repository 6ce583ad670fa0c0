"""Execution of a TensorRT engine: buffers, one execution context per batch size, CUDA graphs.

An engine has one stream, page-locked buffers for its largest batch, and an execution context for
each batch size, because a CUDA graph is bound to the shapes and addresses that it was captured
with. All contexts share one block of device memory: one stream runs one of them at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines.protocol import TensorSpec, check_feeds
from gasmcast.runtime.engines.trt.cuda_stream import CudaStream
from gasmcast.runtime.engines.trt.library import numpy_type

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["TensorRTEngine"]


class _Profile(NamedTuple):
    """Batch range of an optimization profile."""

    least: int
    most: int


@dataclass
class _Batch:
    """An execution context with its batch size set, and its CUDA graph if there is one."""

    context: trt.IExecutionContext
    graph: object | None = None


class TensorRTEngine:
    """A TensorRT engine that is ready to run. Batches above its largest profile run in parts."""

    def __init__(
        self,
        module: ModuleType,
        stream: CudaStream,
        engine: trt.ICudaEngine,
        line: str,
        graphs: bool = True,
    ) -> None:
        """Bind all buffers and run the largest batch once.

        Args:
            module: `tensorrt`.
            stream: stream and memory on the device; closed with this object.
            engine: the deserialized engine.
            line: text of `describe`, without the batch.
            graphs: capture CUDA graphs.

        Raises:
            MachineError: out of memory, or the device failed.
        """
        trt = module
        self._trt, self._stream, self._engine = trt, stream, engine
        self._line, self._graphs = line, graphs

        # Batches share buffers and stream, so only one call may run.
        self._lock = Lock()
        self._batches: dict[int, _Batch] = {}
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._inputs = [
            name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        self._outputs = [name for name in names if name not in self._inputs]
        self._profiles = self._read_profiles()
        self.max_batch = max(profile.most for profile in self._profiles)

        # Shapes of the outputs are known only in a context with the batch set.
        self._dtypes = {name: numpy_type(trt, engine.get_tensor_dtype(name)) for name in names}
        self._scratch_size = int(engine.device_memory_size_v2)
        self._scratch = stream.on_device(self._scratch_size)
        largest = self._shaped_context(self.max_batch)
        shapes = {name: tuple(largest.get_tensor_shape(name)) for name in names}

        # Zeros, so that the warm-up runs do not compute on arbitrary memory.
        self._host = {
            name: stream.on_host(shape, self._dtypes[name]) for name, shape in shapes.items()
        }
        for array in self._host.values():
            array.fill(0)
        self._device = {name: stream.on_device(array.nbytes) for name, array in self._host.items()}

        self.inputs = {name: self._input_spec(name, shapes[name]) for name in self._inputs}

        # Outputs are copied into FP32 arrays, whatever type the engine has.
        self.outputs = {
            name: TensorSpec((None, *shapes[name][1:]), np.dtype(np.float32))
            for name in self._outputs
        }
        self._batches[self.max_batch] = self._warm(largest, self.max_batch)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Raises:
            UsageError: an input is missing, unknown, or has another shape or dtype.
            MachineError: the device failed.
        """
        count = check_feeds(self.inputs, feeds)
        results = {
            name: np.empty((count, *self._host[name].shape[1:]), np.float32)
            for name in self._outputs
        }
        with self._lock:
            self._stream.use()
            for start in range(0, count, self.max_batch):
                size = min(self.max_batch, count - start)
                # A context is made when its batch size first occurs, not for all sizes at the
                # start.
                if size not in self._batches:
                    self._batches[size] = self._warm(self._shaped_context(size), size)
                for name in self._inputs:
                    self._host[name][:size] = feeds[name][start : start + size]

                batch = self._batches[size]
                if batch.graph is None:
                    self._enqueue(batch.context, size)
                else:
                    self._stream.launch(batch.graph)
                self._stream.wait()

                for name in self._outputs:
                    results[name][start : start + size] = self._host[name][:size]
        return results

    def describe(self) -> str:
        """Return one line: backend, version, device, batches, use of CUDA graphs."""
        eager = sorted(size for size, batch in self._batches.items() if batch.graph is None)
        graphs = "CUDA graphs"
        if eager:
            graphs = f"no CUDA graph for batch {', '.join(map(str, eager))}"
        return f"{self._line}, batch 1..{self.max_batch}, {graphs}"

    def close(self) -> None:
        """Free the device's memory; the engine cannot run afterwards."""
        with self._lock:
            self._batches.clear()
            self._host.clear()
            self._stream.close()

    def _read_profiles(self) -> list[_Profile]:
        """Return the batch range of each optimization profile; a fixed batch has only its own."""
        engine, first = self._engine, self._inputs[0]
        # All inputs have the same batch, so the first one stands for all.
        fixed = self._declared(first)[0]
        if fixed != -1:
            return [_Profile(fixed, fixed)]

        profiles = []
        for index in range(engine.num_optimization_profiles):
            low, _, high = (tuple(dims) for dims in engine.get_tensor_profile_shape(first, index))
            profiles.append(_Profile(int(low[0]), int(high[0])))
        return profiles

    def _declared(self, name: str) -> tuple[int, ...]:
        """Return the shape in the engine; -1 is the free batch."""
        return tuple(int(size) for size in self._engine.get_tensor_shape(name))

    def _input_spec(self, name: str, shape: tuple[int, ...]) -> TensorSpec:
        batch = None if self._declared(name)[0] == -1 else shape[0]
        return TensorSpec((batch, *shape[1:]), self._dtypes[name])

    def _shaped_context(self, size: int) -> trt.IExecutionContext:
        """Return a new context with the batch set, all shapes known and the shared memory bound."""
        trt, engine = self._trt, self._engine
        index = self._profile_index(size)
        context = engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise MachineError(
                f"TensorRT gave no execution context for a batch of {size}.",
                "Use fewer cameras, or close what else uses the device.",
            )

        # The profile must be set before the shapes, and it is set asynchronously.
        if not context.set_optimization_profile_async(index, self._stream.handle):
            raise MachineError(f"TensorRT refused the batch profile {index}.")
        self._stream.wait()
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

    def _profile_index(self, size: int) -> int:
        for index, profile in enumerate(self._profiles):
            if profile.least <= size <= profile.most:
                return index
        ranges = ", ".join(f"{profile.least}..{profile.most}" for profile in self._profiles)
        raise UsageError(
            f"A batch of {size} is in no profile of this engine ({ranges}).",
            "gasmcast engine build BUNDLE --cameras N",
        )

    def _warm(self, context: trt.IExecutionContext, size: int) -> _Batch:
        """Bind the buffers, run twice, then capture a CUDA graph."""
        for name, address in self._device.items():
            if not context.set_tensor_address(name, address):
                raise MachineError(f"TensorRT refused the buffer of {name}.")

        # The first enqueue after a change of shapes allocates memory; a capture must not.
        for _ in range(2):
            self._enqueue(context, size)
        self._stream.wait()

        if not self._graphs:
            return _Batch(context)
        return _Batch(context, self._stream.capture(lambda: self._enqueue(context, size)))

    def _enqueue(self, context: trt.IExecutionContext, size: int) -> None:
        for name in self._inputs:
            self._stream.upload(self._device[name], self._host[name][:size])
        if not context.execute_async_v3(self._stream.handle):
            raise MachineError(
                "TensorRT could not enqueue the network.",
                "See the log above; gasmcast engine build BUNDLE --force",
            )
        for name in self._outputs:
            self._stream.download(self._host[name][:size], self._device[name])
