"""Fake of CUDA's bindings: its memory is host memory, its streams run only when somebody waits.

test_api.py compares names and arguments with the real bindings; the fake is about behavior. Where a
real device would crash or compute garbage it raises an AssertionError. Work is done as late as CUDA
allows: a result that is read without waiting for its stream is missing.
"""
# ruff: noqa: N802, N815 - the names are CUDA's

from __future__ import annotations

import ctypes
import enum
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import NamedTuple


class Error(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class Kind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class Work(NamedTuple):
    """Something enqueued, and the addresses that it reads and writes."""

    run: Callable[[], None]
    touches: tuple[int, ...] = ()


@dataclass
class FakeStream:
    """Work that waits on one stream, and what a capture has recorded."""

    pending: list[Work] = field(default_factory=list)
    captured: list[Work] | None = None
    capturing_thread: int | None = None


class FakeCuda(ModuleType):
    """`cuda.bindings.runtime` with host memory, and graphs that replay what was captured."""

    cudaError_t = Error
    cudaMemcpyKind = Kind
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.calls: list[str] = []
        self.device: dict[int, ctypes.Array] = {}
        self.host: dict[int, ctypes.Array] = {}
        self.copied: Counter[str] = Counter()
        """Bytes of the copies that were done: `up`, `down`, and `within` the device."""
        self.copies: Counter[str] = Counter()
        """Number of these copies."""
        self.capturable = True
        self.devices: tuple[Error, int] = (Error.cudaSuccess, 1)
        self.driver = 13000
        self.limit = 1 << 30
        self.graphs = 0
        self.open: dict[int, FakeStream] = {}
        self._handles = 77
        # Streams run in several threads, and += is not atomic.
        self._counting = threading.Lock()

    @property
    def memory(self) -> dict[int, ctypes.Array]:
        """All memory that is allocated, on the device and page-locked on the host."""
        return self.device | self.host

    @property
    def streams(self) -> int:
        return len(self.open)

    def enqueue(self, handle: int, run: Callable[[], None], *touches: int) -> None:
        stream = self.open[handle]
        queue = stream.pending if stream.captured is None else stream.captured
        queue.append(Work(run, touches))

    def inside(self, pointer: int, size: int, blocks: dict[int, ctypes.Array]) -> bool:
        return any(
            start <= pointer and pointer + size <= start + len(block)
            for start, block in list(blocks.items())
        )

    def cudaGetDeviceCount(self):
        return self.devices

    def cudaDriverGetVersion(self):
        return Error.cudaSuccess, self.driver

    def cudaRuntimeGetVersion(self):
        return Error.cudaSuccess, 13050

    def cudaGetDeviceProperties(self, index):
        self.calls.append("device")
        return Error.cudaSuccess, SimpleNamespace(
            name=b"Fake RTX\0\0", major=8, minor=9, totalGlobalMem=16 << 30
        )

    def cudaGetErrorString(self, error):
        return Error.cudaSuccess, error.name.encode()

    def cudaGetLastError(self):
        return (Error.cudaSuccess,)

    def cudaSetDevice(self, index):
        return (Error.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags):
        self._handles += 1
        self.open[self._handles] = FakeStream()
        return Error.cudaSuccess, self._handles

    def cudaStreamDestroy(self, stream):
        assert not self.open.pop(stream).pending, "a stream was destroyed with work on it"
        return (Error.cudaSuccess,)

    def cudaMalloc(self, size):
        self._refuse_in_capture("cudaMalloc")
        assert size > 0, "a size of 0 is an error"
        if size + sum(map(len, self.device.values())) > self.limit:
            return Error.cudaErrorMemoryAllocation, None
        return self._allocate(size, self.device)

    def cudaMallocHost(self, size):
        return self._allocate(size, self.host)

    def _allocate(self, size: int, blocks: dict[int, ctypes.Array]):
        block = (ctypes.c_uint8 * size)(*b"\xee" * min(size, 64))
        blocks[ctypes.addressof(block)] = block
        return Error.cudaSuccess, ctypes.addressof(block)

    def cudaFree(self, pointer):
        self._refuse_in_capture("cudaFree")
        size = len(self.device[pointer])
        for stream in list(self.open.values()):
            for work in stream.pending:
                used = any(pointer <= one < pointer + size for one in work.touches)
                assert not used, "memory was freed that enqueued work uses"
        del self.device[pointer]
        return (Error.cudaSuccess,)

    def cudaFreeHost(self, pointer):
        del self.host[pointer]
        return (Error.cudaSuccess,)

    def _refuse_in_capture(self, call: str) -> None:
        thread = threading.get_ident()
        capturing = [stream.capturing_thread for stream in list(self.open.values())]
        assert thread not in capturing, f"{call} invalidates the capture of its thread"

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        sides = {
            Kind.cudaMemcpyHostToDevice: (self.device, self.host, "upload"),
            Kind.cudaMemcpyDeviceToHost: (self.host, self.device, "download"),
            Kind.cudaMemcpyDeviceToDevice: (self.device, self.device, "copy"),
        }
        to, of, call = sides[kind]
        assert self.inside(target, size, to), "a copy beyond a buffer"
        assert self.inside(source, size, of), "a copy beyond a buffer"
        self.calls.append(call)
        self.enqueue(stream, lambda: self._copy(target, source, size, kind), target, source)
        return (Error.cudaSuccess,)

    def cudaMemcpy(self, target, source, size, kind):
        assert kind == Kind.cudaMemcpyDeviceToHost
        assert self.inside(source, size, self.device), "a copy beyond a buffer"
        self.calls.append("read")
        # Streams that do not block the default stream are not waited for.
        self._copy(target, source, size, kind)
        return (Error.cudaSuccess,)

    def _copy(self, target: int, source: int, size: int, kind: Kind) -> None:
        way = {1: "up", 2: "down", 3: "within"}[kind]
        with self._counting:
            self.copied[way] += size
            self.copies[way] += 1
        ctypes.memmove(target, source, size)

    def cudaStreamSynchronize(self, stream):
        own = self.open[stream]
        assert own.captured is None, "a wait during capture invalidates it"
        self.calls.append("wait")
        while own.pending:
            own.pending.pop(0).run()
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream, mode):
        self.calls.append("capture")
        self.open[stream].captured = []
        self.open[stream].capturing_thread = threading.get_ident()
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream):
        self.calls.append("captured")
        own = self.open[stream]
        work, own.captured, own.capturing_thread = own.captured, None, None
        return (
            (Error.cudaSuccess, work)
            if self.capturable
            else (Error.cudaErrorStreamCaptureInvalidated, None)
        )

    def cudaGraphInstantiate(self, graph, flags):
        self.graphs += 1
        return Error.cudaSuccess, list(graph)

    def cudaGraphDestroy(self, graph):
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph):
        self.graphs -= 1
        return (Error.cudaSuccess,)

    def cudaGraphLaunch(self, graph, stream):
        self.calls.append("launch")
        for work in graph:
            self.enqueue(stream, work.run, *work.touches)
        return (Error.cudaSuccess,)
