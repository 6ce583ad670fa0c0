"""A CUDA stream with the device and host memory of one session, and its CUDA graphs."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.errors import MachineError
from gasmcast.runtime.engines.trt.cuda import CudaValue, check_result, load_cudart
from gasmcast.runtime.engines.trt.device_blocks import DeviceBlocks

__all__ = ["CudaStream"]

_log = logging.getLogger(__name__)


class CudaStream:
    """One stream on one device, and all memory that is allocated through it; `close` frees both.

    Not thread-safe. `use` makes the device current in the calling thread.

    Args:
        index: CUDA's number of the device.
    """

    def __init__(self, index: int) -> None:
        self._cudart = cudart = load_cudart()
        self._index = index
        self._device: list[int] = []
        self._host: list[int] = []
        self._blocks: list[DeviceBlocks] = []
        self._graphs: list[object] = []

        # The stream is created on the current device.
        self.use()
        created = cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking)
        self._stream = check_result(cudart, created, "create a stream")

    def blocks(self, size: int) -> DeviceBlocks:
        """Return memory on the same device in blocks of `size` bytes; `close` frees it, too."""
        made = DeviceBlocks(size, self._index, self._cudart)
        self._blocks.append(made)
        return made

    @property
    def handle(self) -> int:
        """Handle of the stream, as TensorRT takes it."""
        return int(self._stream)

    def use(self) -> None:
        """Make the device current in this thread."""
        self._check(self._cudart.cudaSetDevice(self._index), f"use device {self._index}")

    def on_device(self, size: int) -> int:
        """Allocate `size` bytes on the device and return their address."""
        # A size of 0 is an error in CUDA.
        allocated = self._cudart.cudaMalloc(max(size, 1))
        pointer = int(self._check(allocated, f"take {size / 1e6:.0f} MB of device memory"))
        self._device.append(pointer)
        return pointer

    def on_host(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array in page-locked host memory, which is copied without blocking the host."""
        count = int(np.prod(shape))
        size = max(count * dtype.itemsize, 1)
        allocated = self._cudart.cudaMallocHost(size)
        pointer = int(self._check(allocated, f"take {size / 1e6:.0f} MB of page-locked memory"))
        self._host.append(pointer)

        # A view on the raw bytes; `close` frees them, so the array must not outlive the stream.
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))
        return raw[: count * dtype.itemsize].view(dtype).reshape(shape)

    def upload(self, target: int, source: NDArray[Any]) -> None:
        """Enqueue a copy of a contiguous page-locked array to the device."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        result = self._cudart.cudaMemcpyAsync(
            target, source.ctypes.data, source.nbytes, kind, self._stream
        )
        self._check(result, "copy to the device")

    def download(self, target: NDArray[Any], source: int) -> None:
        """Enqueue a copy from the device into a contiguous page-locked array."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        result = self._cudart.cudaMemcpyAsync(
            target.ctypes.data, source, target.nbytes, kind, self._stream
        )
        self._check(result, "copy from the device")

    def copy(self, target: int, source: int, size: int) -> None:
        """Enqueue a copy of `size` bytes within the device's memory."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        result = self._cudart.cudaMemcpyAsync(target, source, size, kind, self._stream)
        self._check(result, "copy on the device")

    def wait(self) -> None:
        """Wait until everything enqueued is done.

        Raises:
            MachineError: enqueued work failed on the device.
        """
        self._check(self._cudart.cudaStreamSynchronize(self._stream), "finish its work")

    def capture(self, work: Callable[[], None]) -> object | None:
        """Record what `work` enqueues as a CUDA graph for `launch`.

        `work` must have run on this stream before: TensorRT allocates memory and loads kernels in
        its first enqueue, and neither can be captured.

        Returns:
            The graph, or None (with a warning in the log) if the work cannot be captured.
        """
        cudart, graph = self._cudart, None
        failure: Exception | None = None
        # Thread-local mode: other threads may allocate memory during the capture.
        started = cudart.cudaStreamBeginCapture(
            self._stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )

        try:
            self._check(started, "begin a capture")
            try:
                work()
            except MachineError as error:
                failure = error
            # Also after a failure: until the capture is ended, the stream accepts no other work.
            graph = self._check(cudart.cudaStreamEndCapture(self._stream), "end the capture")
            if failure is not None:
                raise failure
            executable: object = self._check(
                cudart.cudaGraphInstantiate(graph, 0), "instantiate the graph"
            )
        except MachineError as error:
            cudart.cudaGetLastError()  # clear it, or the next call reports it again
            _log.warning("no CUDA graph, running without: %s", failure or error)
            return None
        finally:
            if graph is not None:
                cudart.cudaGraphDestroy(graph)

        # Graphs are destroyed by `close`, before the memory that they use.
        self._graphs.append(executable)
        return executable

    def launch(self, graph: object) -> None:
        """Enqueue a captured graph."""
        self._check(self._cudart.cudaGraphLaunch(graph, self._stream), "launch a graph")

    def close(self) -> None:
        """Free graphs, memory and stream; arrays of `on_host` are invalid afterwards."""
        cudart = self._cudart
        cudart.cudaSetDevice(self._index)
        # Memory must not be freed while enqueued work still uses it.
        if self._stream is not None:
            cudart.cudaStreamSynchronize(self._stream)

        for graph in self._graphs:
            cudart.cudaGraphExecDestroy(graph)
        for blocks in self._blocks:
            blocks.close()
        for pointer in self._device:
            cudart.cudaFree(pointer)
        for pointer in self._host:
            cudart.cudaFreeHost(pointer)

        if self._stream is not None:
            cudart.cudaStreamDestroy(self._stream)
        self._graphs, self._device, self._host, self._stream = [], [], [], None
        self._blocks = []

    def _check(self, result: tuple[Any, ...], action: str) -> CudaValue:
        return check_result(self._cudart, result, action)
