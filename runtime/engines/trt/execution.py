"""Execution of a TensorRT engine: its buffers, and what is copied into and out of them.

An engine has one stream, buffers on the device and page-locked ones on the host for its largest
batch. Tensors may come from the host or from device memory, and go to either. Every method waits
for the stream before it returns, so what it returns is complete, and what it read may be given
back: two engines need no order between their streams.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines.device_row import DeviceRow, DeviceWindow, RowLayout
from gasmcast.runtime.engines.protocol import TensorSpec, check_feeds
from gasmcast.runtime.engines.trt.contexts import BatchContexts
from gasmcast.runtime.engines.trt.cuda_stream import CudaStream
from gasmcast.runtime.engines.trt.library import numpy_type

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["TensorRTEngine"]


class _Part(NamedTuple):
    """Rows `[start, stop)` of a batch that run together."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


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
        self._stream, self._line = stream, line
        # Batches share buffers and stream, so only one call may run.
        self._lock = Lock()
        self._closed = False
        self._contexts = contexts = BatchContexts(module, stream, engine, graphs)
        self.max_batch = contexts.max_batch

        # Zeros, so that the warm-up runs do not compute on arbitrary memory.
        shapes = contexts.shapes
        dtypes = {name: numpy_type(module, engine.get_tensor_dtype(name)) for name in shapes}
        self._host = {name: stream.on_host(shape, dtypes[name]) for name, shape in shapes.items()}
        for array in self._host.values():
            array.fill(0)
        self._device = {name: stream.on_device(array.nbytes) for name, array in self._host.items()}
        for name in contexts.inputs:
            stream.upload(self._device[name], self._host[name])

        self.inputs = {}
        for name in contexts.inputs:
            batch = None if contexts.is_free(name) else shapes[name][0]
            self.inputs[name] = TensorSpec((batch, *shapes[name][1:]), dtypes[name])

        # On the device, outputs keep the type of the engine; on the host they are FP32.
        self._row_shapes = {name: shapes[name][1:] for name in contexts.outputs}
        self.row_layout = RowLayout(self._row_shapes, dtypes)
        self.outputs = {
            name: TensorSpec((None, *shape), np.dtype(np.float32))
            for name, shape in self._row_shapes.items()
        }
        self._blocks = stream.blocks(self.row_layout.nbytes)

        contexts.bind(self._device)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the arrays returned belong to the caller.

        Raises:
            UsageError: an input is missing, unknown, or has another shape or dtype.
            MachineError: the device failed, or the engine was closed.
        """
        count = check_feeds(self.inputs, feeds)
        results = self._results(count)
        with self._lock:
            for part in self._parts(count):
                self._upload(feeds, part)
                self._contexts.enqueue(part.size)
                self._download(results, part)
        return results

    def run_to_device(self, feeds: Mapping[str, NDArray[np.generic]]) -> list[DeviceRow]:
        """Compute all outputs and leave them on the device, complete when this returns.

        Returns:
            One row per row of the batch, each in memory of its own: the next run overwrites the
            engine's buffers, but no row.

        Raises:
            UsageError: as for `run`.
            MachineError: the device failed or has no memory left, or the engine was closed.
        """
        count = check_feeds(self.inputs, feeds)
        tensors = self.row_layout.tensors
        with self._lock:
            self._check_open()
            # Before anything is enqueued: a failed allocation must leave no work behind.
            rows = [
                DeviceRow(self._blocks, self._blocks.take(), self.row_layout) for _ in range(count)
            ]
            for part in self._parts(count):
                self._upload(feeds, part)
                self._contexts.enqueue(part.size)
                for position, row in enumerate(rows[part.start : part.stop]):
                    for name, tensor in tensors.items():
                        source = self._device[name] + position * tensor.nbytes
                        self._stream.copy(row.address(name), source, tensor.nbytes)

                # The next part overwrites the buffers, and another stream reads the rows.
                self._stream.wait()
        return rows

    def run_from_device(self, windows: Sequence[DeviceWindow]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs `(B, ...)` of B windows whose rows are on the device.

        Raises:
            UsageError: there is no window, or the rows do not fit the inputs.
            MachineError: the device failed, or an engine of the rows or this one was closed.
        """
        self._check_windows(windows)
        results = self._results(len(windows))
        with self._lock:
            for part in self._parts(len(windows)):
                for position, window in enumerate(windows[part.start : part.stop]):
                    self._gather(window, position)
                self._contexts.enqueue(part.size)
                # This waits, so the caller may drop the rows afterwards.
                self._download(results, part)
        return results

    def describe(self) -> str:
        """Return one line: backend, version, device, batches, use of CUDA graphs."""
        eager = self._contexts.eager
        graphs = "CUDA graphs"
        if eager:
            graphs = f"no CUDA graph for batch {', '.join(map(str, eager))}"
        return f"{self._line}, batch 1..{self.max_batch}, {graphs}"

    def close(self) -> None:
        """Free the device's memory, also of rows; the engine cannot run afterwards."""
        with self._lock:
            self._closed = True
            self._contexts.clear()
            self._host.clear()
            self._stream.close()

    def _check_open(self) -> None:
        if self._closed:
            raise MachineError("The engine was closed.", "Open the model again.")

    def _check_windows(self, windows: Sequence[DeviceWindow]) -> None:
        """Raise a UsageError unless the rows of every window, stacked, are the inputs."""
        if not windows:
            raise UsageError("There is no window to run.")
        for window in windows:
            for name, spec in self.inputs.items():
                for row in window.rows:
                    tensor = row.tensors.get(name)
                    found = tensor and ((len(window.rows), *tensor.shape), tensor.dtype)
                    if found != (spec.shape[1:], spec.dtype):
                        raise UsageError(
                            f"{name} of a window is {spec.shape[1:]} {spec.dtype}, the rows on "
                            f"the device have {found or 'none'}."
                        )

    def _results(self, count: int) -> dict[str, NDArray[np.float32]]:
        shapes = self._row_shapes.items()
        return {name: np.empty((count, *shape), np.float32) for name, shape in shapes}

    def _parts(self, count: int) -> Iterator[_Part]:
        """Yield the parts of a batch, each with its context prepared; the caller has the lock."""
        self._check_open()
        self._stream.use()
        for start in range(0, count, self.max_batch):
            part = _Part(start, min(start + self.max_batch, count))
            # A context is made when its batch size first occurs, not for all sizes at the start.
            self._contexts.prepare(part.size)
            yield part

    def _upload(self, feeds: Mapping[str, NDArray[np.generic]], part: _Part) -> None:
        """Enqueue the copies of a part's inputs to the device."""
        for name in self.inputs:
            host = self._host[name][: part.size]
            host[...] = feeds[name][part.start : part.stop]
            self._stream.upload(self._device[name], host)

    def _gather(self, window: DeviceWindow, position: int) -> None:
        """Enqueue the copies of a window's rows into the inputs, as row `position` of the batch."""
        for name in self.inputs:
            nbytes = window.rows[0].tensors[name].nbytes
            start = self._device[name] + position * len(window.rows) * nbytes
            for index, row in enumerate(window.rows):
                self._stream.copy(start + index * nbytes, row.address(name), nbytes)

    def _download(self, results: dict[str, NDArray[np.float32]], part: _Part) -> None:
        """Copy a part's outputs to the host and wait for them."""
        for name in results:
            self._stream.download(self._host[name][: part.size], self._device[name])
        self._stream.wait()
        for name, result in results.items():
            result[part.start : part.stop] = self._host[name][: part.size]
