"""Fakes of TensorRT and CUDA that follow the rules of the real ones, move bytes and record calls.

test_api.py compares names and arguments with the real bindings; the fakes are about behavior. Where
a real one would crash or compute garbage they raise an AssertionError.
"""
# ruff: noqa: N802, N815 - the names are CUDA's

from __future__ import annotations

import ctypes
import enum
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from gasmcast.runtime.engines.trt import build
from gasmcast.runtime.engines.trt import library as tensorrt_library


class Error(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class FakeCuda(ModuleType):
    """`cuda.bindings.runtime` with host memory, and graphs that replay what was captured."""

    cudaError_t = Error
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.calls: list[str] = []
        self.memory: dict[int, ctypes.Array] = {}
        self.captured: list[Callable[[], None]] | None = None
        self.capturable = True
        self.devices: tuple[Error, int] = (Error.cudaSuccess, 1)
        self.driver = 13000
        self.limit = 1 << 30
        self.graphs = self.streams = 0

    def enqueue(self, work: Callable[[], None]) -> None:
        work() if self.captured is None else self.captured.append(work)

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
        self.streams += 1
        return Error.cudaSuccess, 77

    def cudaStreamDestroy(self, stream):
        self.streams -= 1
        return (Error.cudaSuccess,)

    def cudaMalloc(self, size):
        if size + sum(map(len, self.memory.values())) > self.limit:
            return Error.cudaErrorMemoryAllocation, None
        block = (ctypes.c_uint8 * size)(*b"\xee" * min(size, 64))
        self.memory[ctypes.addressof(block)] = block
        return Error.cudaSuccess, ctypes.addressof(block)

    cudaMallocHost = cudaMalloc

    def cudaFree(self, pointer):
        del self.memory[pointer]
        return (Error.cudaSuccess,)

    cudaFreeHost = cudaFree

    def inside(self, pointer: int, size: int) -> bool:
        return any(
            start <= pointer and pointer + size <= start + len(block)
            for start, block in self.memory.items()
        )

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        assert stream == 77
        assert self.inside(target, size), "a copy beyond a buffer"
        assert self.inside(source, size), "a copy beyond a buffer"
        self.calls.append("upload" if kind == 1 else "download")
        self.enqueue(lambda: ctypes.memmove(target, source, size))
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):
        assert self.captured is None, "a wait during capture invalidates it"
        self.calls.append("wait")
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream, mode):
        self.calls.append("capture")
        self.captured = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream):
        self.calls.append("captured")
        work, self.captured = self.captured, None
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
            work()
        return (Error.cudaSuccess,)


class Context:
    """An execution context that checks that it was prepared in order."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.cuda = engine, engine.cuda
        self.profile: int | None = None
        self.batch: int | None = None
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None
        self.warm = False

    def set_optimization_profile_async(self, index, stream):
        assert stream == 77
        self.cuda.calls.append(f"profile {index}")
        self.profile = index
        return True

    def set_input_shape(self, name, shape):
        assert self.profile is not None, "a shape before its profile"
        low, high = self.engine.profiles[self.profile]
        self.cuda.calls.append(f"shape {name} {shape}")
        if not low <= shape[0] <= high or self.engine.refuses_shapes:
            return False
        self.batch = shape[0]
        return True

    def infer_shapes(self):
        return [] if self.batch else ["x"]

    def set_device_memory(self, pointer, size):
        assert self.cuda.inside(pointer, size)
        self.memory = (pointer, size)

    def get_tensor_shape(self, name):
        return (self.batch, *self.engine.tensors[name][1])

    def set_tensor_address(self, name, pointer):
        self.cuda.calls.append(f"bind {name}")
        self.addresses[name] = pointer
        return True

    def execute_async_v3(self, stream):
        assert stream == 77
        assert set(self.addresses) == set(self.engine.tensors), "not all buffers are bound"
        assert self.memory is not None
        assert self.memory[1] >= self.engine.device_memory_size_v2, "no device memory given"
        if self.engine.fails:
            return False
        if self.cuda.captured is not None:
            assert self.warm, "captured before the first enqueue, which allocates"
            if not self.cuda.capturable:
                return False
        self.warm = True
        self.cuda.calls.append("execute")
        batch = self.batch
        self.cuda.enqueue(lambda: self.compute(batch))
        return True

    def compute(self, batch: int) -> None:
        assert batch == self.batch, "a graph outlived the shapes that it was captured with"
        x = self.view("x", batch)
        self.view("y", batch)[:] = x.astype(np.float32) * 2 + self.view("z", batch).sum(
            1, keepdims=True
        )

    def view(self, name: str, batch: int) -> np.ndarray:
        dtype, rest = self.engine.tensors[name]
        numpy = np.dtype({"FLOAT": "f4", "HALF": "f2", "UINT8": "u1"}[dtype])
        size = batch * int(np.prod(rest)) * numpy.itemsize
        assert self.cuda.inside(self.addresses[name], size)
        return np.frombuffer(
            (ctypes.c_uint8 * size).from_address(self.addresses[name]), numpy
        ).reshape(batch, *rest)


class Engine:
    """y = 2 x + sum(z), with the batch profiles of the plan."""

    device_memory_size_v2 = 4096

    def __init__(
        self, cuda: FakeCuda, profiles: list[tuple[int, int]], fixed: bool, output: str
    ) -> None:
        self.cuda, self.profiles, self.fixed = cuda, profiles, fixed
        self.tensors = {"x": ("UINT8", (3,)), "z": ("FLOAT", (2,)), "y": (output, (3,))}
        self.num_io_tensors, self.num_optimization_profiles = 3, len(profiles)
        self.refuses_shapes = self.fails = self.full = False

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_mode(self, name):
        return "output" if name == "y" else "input"

    def get_tensor_dtype(self, name):
        return self.tensors[name][0]

    def get_tensor_shape(self, name):
        return (self.profiles[0][0] if self.fixed else -1, *self.tensors[name][1])

    def get_tensor_profile_shape(self, name, index):
        low, high = self.profiles[index]
        return [(size, *self.tensors[name][1]) for size in (low, high, high)]

    def create_execution_context(self, strategy):
        assert strategy == "mine"
        self.cuda.calls.append("context")
        return None if self.full else Context(self)


class FakeTensorRT(ModuleType):
    """`tensorrt`, whose runtime reads only plans of its own version and requires a device."""

    ILogger = type("ILogger", (), {})
    DataType = SimpleNamespace(
        FLOAT="FLOAT", HALF="HALF", INT32="INT32", INT64="INT64", UINT8="UINT8"
    )
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="mine")

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__("tensorrt")
        self.__version__ = "10.3.0"
        self.cuda = cuda
        self.engine: Engine | None = None
        self.output, self.fixed = "FLOAT", False
        self.profiles: list[tuple[int, int]] | None = None
        self.prepare: Callable[[Engine], None] = lambda engine: None
        self.refuse = 0

    def Runtime(self, logger):
        assert isinstance(logger, self.ILogger)
        assert self.cuda.devices == (Error.cudaSuccess, 1), (
            "trt.Runtime without a device crashes the process"
        )
        self.cuda.calls.append("runtime")
        return SimpleNamespace(deserialize_cuda_engine=self.deserialize)

    def deserialize(self, plan):
        version, _, spans = plan.decode().partition(" ")
        if version != self.__version__ or self.refuse:
            self.refuse -= 1
            return None
        profiles = self.profiles or [
            (int(low), int(high)) for low, _, high in (p.split("/") for p in spans.split())
        ]
        self.engine = Engine(self.cuda, profiles, self.fixed, self.output)
        self.prepare(self.engine)
        return self.engine


class Machine:
    """A machine with the two fakes, and a builder that writes their plans immediately."""

    def __init__(self) -> None:
        self.cuda = FakeCuda()
        self.trt = FakeTensorRT(self.cuda)
        self.built: list[build.BuildRequest] = []

    def build_plan(self, request, progress=lambda _: None):
        from pathlib import Path

        progress("building")
        self.built.append(request)
        plan = Path(request.plan)
        plan.write_text(
            f"{self.trt.__version__} "
            + " ".join("/".join(map(str, profile)) for profile in request.profiles)
        )
        return build.Built(plan, self.trt.__version__, 1.5, plan.stat().st_size)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Machine:
    fake = Machine()
    monkeypatch.setitem(sys.modules, "tensorrt", fake.trt)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake.cuda)
    monkeypatch.setattr(build, "build_plan", fake.build_plan)
    monkeypatch.setattr(tensorrt_library, "_RUNTIMES", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "encoder.fp16.onnx"
    path.write_bytes(b"\x12\x04fake")  # an ONNX file that only names its producer
    return path
