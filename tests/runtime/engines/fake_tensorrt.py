"""Fake of TensorRT that follows the rules of the real one, and a machine that has it and a GPU.

Where the real one would crash or compute garbage it raises an AssertionError.
"""
# ruff: noqa: N802 - the names are TensorRT's

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from gasmcast.runtime.engines.trt import build
from gasmcast.runtime.engines.trt import library as tensorrt_library
from tests.runtime.engines.fake_cuda import Error, FakeCuda

NUMPY = {"FLOAT": "f4", "HALF": "f2", "UINT8": "u1"}
Arrays = dict[str, np.ndarray]


class Sum:
    """Network y = 2 x + sum(z)."""

    def __init__(self, output: str) -> None:
        self.tensors = {"x": ("UINT8", (3,)), "z": ("FLOAT", (2,)), "y": (output, (3,))}
        self.inputs = ("x", "z")

    def compute(self, feeds: Arrays) -> Arrays:
        return {"y": feeds["x"].astype(np.float32) * 2 + feeds["z"].sum(1, keepdims=True)}


class OnnxGraph:
    """Network of an ONNX file, row by row: the batch must not change a row's bits."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options)
        types = {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT"}
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        self.tensors = {node.name: (types[node.type], tuple(node.shape[1:])) for node in nodes}
        self.inputs = tuple(node.name for node in self._session.get_inputs())

    def compute(self, feeds: Arrays) -> Arrays:
        names = [node.name for node in self._session.get_outputs()]
        rows = []
        for row in range(len(feeds[self.inputs[0]])):
            one = {name: value[row : row + 1] for name, value in feeds.items()}
            rows.append(self._session.run(names, one))
        return {name: np.concatenate(parts) for name, *parts in zip(names, *rows, strict=True)}


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
        assert stream in self.cuda.open
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
        assert self.cuda.inside(pointer, size, self.cuda.device)
        self.memory = (pointer, size)

    def get_tensor_shape(self, name):
        return (self.batch, *self.engine.tensors[name][1])

    def set_tensor_address(self, name, pointer):
        self.cuda.calls.append(f"bind {name}")
        self.addresses[name] = pointer
        return True

    def execute_async_v3(self, stream):
        assert set(self.addresses) == set(self.engine.tensors), "not all buffers are bound"
        assert self.memory is not None
        assert self.memory[1] >= self.engine.device_memory_size_v2, "no device memory given"
        if self.engine.fails:
            return False
        if self.cuda.open[stream].captured is not None:
            assert self.warm, "captured before the first enqueue, which allocates"
            if not self.cuda.capturable:
                return False
        self.warm = True
        self.cuda.calls.append("execute")
        batch = self.batch
        self.cuda.enqueue(stream, lambda: self.compute(batch), *self.addresses.values())
        return True

    def compute(self, batch: int) -> None:
        assert batch == self.batch, "a graph outlived the shapes that it was captured with"
        network = self.engine.network
        feeds = {name: self.view(name, batch) for name in network.inputs}
        for name, value in network.compute(feeds).items():
            self.view(name, batch)[:] = value

    def view(self, name: str, batch: int) -> np.ndarray:
        dtype, rest = self.engine.tensors[name]
        numpy = np.dtype(NUMPY[dtype])
        size = batch * int(np.prod(rest)) * numpy.itemsize
        assert self.cuda.inside(self.addresses[name], size, self.cuda.device)
        return np.frombuffer(
            (ctypes.c_uint8 * size).from_address(self.addresses[name]), numpy
        ).reshape(batch, *rest)


class Engine:
    """Engine of a network, with the batch profiles of the plan."""

    device_memory_size_v2 = 4096

    def __init__(
        self,
        cuda: FakeCuda,
        profiles: list[tuple[int, int]],
        fixed: bool,
        network: Sum | OnnxGraph,
    ) -> None:
        self.cuda, self.profiles, self.fixed, self.network = cuda, profiles, fixed, network
        self.tensors = network.tensors
        self.num_io_tensors, self.num_optimization_profiles = len(self.tensors), len(profiles)
        self.refuses_shapes = self.fails = self.full = False

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_mode(self, name):
        return "input" if name in self.network.inputs else "output"

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
        self.graphs: list[bytes] | None = None
        """Graphs of plans, by number; None: every engine computes `Sum`."""

    def Runtime(self, logger):
        assert isinstance(logger, self.ILogger)
        assert self.cuda.devices == (Error.cudaSuccess, 1), (
            "trt.Runtime without a device crashes the process"
        )
        self.cuda.calls.append("runtime")
        return SimpleNamespace(deserialize_cuda_engine=self.deserialize)

    def deserialize(self, plan):
        text, _, number = plan.decode().partition("\n")
        version, _, spans = text.partition(" ")
        if version != self.__version__ or self.refuse:
            self.refuse -= 1
            return None
        profiles = self.profiles or [
            (int(low), int(high)) for low, _, high in (p.split("/") for p in spans.split())
        ]
        network = Sum(self.output)
        if self.graphs is not None:
            network = OnnxGraph(self.graphs[int(number)])
        self.engine = Engine(self.cuda, profiles, self.fixed, network)
        self.prepare(self.engine)
        return self.engine


class Machine:
    """A machine with the two fakes, and a builder that writes their plans immediately."""

    def __init__(self) -> None:
        self.cuda = FakeCuda()
        self.trt = FakeTensorRT(self.cuda)
        self.built: list[build.BuildRequest] = []

    def install(self, patch: pytest.MonkeyPatch, cache: Path) -> None:
        """Replace the real packages, the builder and the engine cache."""
        patch.setitem(sys.modules, "tensorrt", self.trt)
        patch.setitem(sys.modules, "cuda.bindings.runtime", self.cuda)
        patch.setattr(build, "build_plan", self.build_plan)
        patch.setattr(tensorrt_library, "_RUNTIMES", {})
        patch.setenv("XDG_CACHE_HOME", str(cache))

    def build_plan(self, request, progress=lambda _: None):
        progress("building")
        self.built.append(request)
        spans = " ".join("/".join(map(str, profile)) for profile in request.profiles)
        if self.trt.graphs is not None:
            self.trt.graphs.append(Path(request.onnx).read_bytes())
            spans += f"\n{len(self.trt.graphs) - 1}"
        plan = Path(request.plan)
        plan.write_text(f"{self.trt.__version__} {spans}")
        return build.Built(plan, self.trt.__version__, 1.5, plan.stat().st_size)
