"""Execution contexts of a TensorRT engine, one per batch size, each with its CUDA graph.

A CUDA graph is bound to the shapes and addresses that it was captured with. All contexts share one
block of device memory: one stream runs one of them at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines.trt.cuda_stream import CudaStream

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["BatchContexts"]


class _Profile(NamedTuple):
    """Batch range of an optimization profile."""

    least: int
    most: int


@dataclass
class _Batch:
    """An execution context with its batch size set, and its CUDA graph if there is one."""

    context: trt.IExecutionContext
    graph: object | None = None


class BatchContexts:
    """Execution contexts for the batch sizes of an engine, made when a size first occurs.

    Call `bind` before the first `enqueue`. Not thread-safe.

    Args:
        module: `tensorrt`.
        stream: stream that runs the network, with the shared device memory.
        engine: the deserialized engine.
        graphs: capture CUDA graphs.

    Raises:
        MachineError: out of memory, or the device failed.
    """

    def __init__(
        self, module: ModuleType, stream: CudaStream, engine: trt.ICudaEngine, graphs: bool
    ) -> None:
        trt = module
        self._trt, self._stream, self._engine, self._graphs = trt, stream, engine, graphs
        self._batches: dict[int, _Batch] = {}
        self._addresses: Mapping[str, int] = {}

        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.inputs = [
            name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        self.outputs = [name for name in names if name not in self.inputs]
        self._profiles = self._read_profiles()
        self.max_batch = max(profile.most for profile in self._profiles)

        # Shapes of the outputs are known only in a context with the batch set.
        self._scratch_size = int(engine.device_memory_size_v2)
        self._scratch = stream.on_device(self._scratch_size)
        self._largest = self._shaped_context(self.max_batch)
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(self._largest.get_tensor_shape(name)) for name in names
        }
        """By tensor, its shape in the largest batch."""

    @property
    def eager(self) -> list[int]:
        """Batch sizes without a CUDA graph, of those that have run."""
        return sorted(size for size, batch in self._batches.items() if batch.graph is None)

    def is_free(self, name: str) -> bool:
        """Return whether the batch of a tensor is free; False if it is fixed."""
        return self._declared(name)[0] == -1

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set the device addresses of all tensors, for good, and run the largest batch.

        Args:
            addresses: by tensor, memory for its largest batch.

        Raises:
            MachineError: TensorRT refuses a buffer, or the device failed.
        """
        self._addresses = addresses
        self._batches[self.max_batch] = self._warm(self._largest)

    def prepare(self, size: int) -> None:
        """Make and warm up the context of a batch size, unless it exists.

        Raises:
            UsageError: no profile of the engine has that size.
            MachineError: out of memory, or the device failed.
        """
        if size not in self._batches:
            self._batches[size] = self._warm(self._shaped_context(size))

    def enqueue(self, size: int) -> None:
        """Enqueue the network for a batch size that was prepared."""
        batch = self._batches[size]
        if batch.graph is None:
            self._execute(batch.context)
        else:
            self._stream.launch(batch.graph)

    def clear(self) -> None:
        """Drop all contexts."""
        self._batches.clear()

    def _read_profiles(self) -> list[_Profile]:
        """Return the batch range of each optimization profile; a fixed batch has only its own."""
        engine, first = self._engine, self.inputs[0]
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
        for name in self.inputs:
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

    def _warm(self, context: trt.IExecutionContext) -> _Batch:
        """Bind the buffers, run twice, then capture a CUDA graph."""
        for name, address in self._addresses.items():
            if not context.set_tensor_address(name, address):
                raise MachineError(f"TensorRT refused the buffer of {name}.")

        # The first enqueue after a change of shapes allocates memory; a capture must not.
        for _ in range(2):
            self._execute(context)
        self._stream.wait()

        if not self._graphs:
            return _Batch(context)
        return _Batch(context, self._stream.capture(lambda: self._execute(context)))

    def _execute(self, context: trt.IExecutionContext) -> None:
        if not context.execute_async_v3(self._stream.handle):
            raise MachineError(
                "TensorRT could not enqueue the network.",
                "See the log above; gasmcast engine build BUNDLE --force",
            )
