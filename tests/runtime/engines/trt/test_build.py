"""The builder process: progress, failures, no remains.

Real builds are in tests/export/tensorrt/test_rtx_check.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines.trt.build import build_plan
from gasmcast.runtime.engines.trt.builder_process import BuildRequest
from gasmcast.runtime.engines.trt.engine_key import precision_of, profiles_for


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module `oddrt` for the child, of the given source."""

    def write(source: str) -> BuildRequest:
        folder = tmp_path / "lib"
        folder.mkdir(exist_ok=True)
        (folder / "oddrt.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
        graph = tmp_path / "encoder.fp16.onnx"
        graph.write_bytes(b"")
        return BuildRequest(str(graph), str(tmp_path / "plan"), profiles_for(2), module="oddrt")

    return write


LIKE_TENSORRT = """
class ILogger: pass
class IProgressMonitor: pass
class NetworkDefinitionCreationFlag: STRONGLY_TYPED = 1
class MemoryPoolType: WORKSPACE = 0
class ProfilingVerbosity: DETAILED = 0
class BuilderFlag: TF32 = 0
class Tensor: name, shape = "segments", (-1, 2, 3)
class Network:
    num_inputs = 1
    def get_input(self, i): return Tensor
class Profile:
    def set_shape(self, name, low, best, high): print("profile", name, low, best, high)
class Config:
    def set_memory_pool_limit(self, pool, size): print("workspace", size)
    def clear_flag(self, flag): pass
    def add_optimization_profile(self, profile): return 0
    def create_timing_cache(self, content):
        print("timings", content)
        class Cache:
            def serialize(self): return b"timed " + content
        return Cache()
    def set_timing_cache(self, cache, ignore): pass
class Builder:
    def __init__(self, logger): self.logger = logger
    def create_network(self, flags): return Network()
    def create_builder_config(self): self.config = Config(); return self.config
    def create_optimization_profile(self): return Profile()
    def build_serialized_network(self, network, config):
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 3)
        monitor.phase_start("Timing", "Building", 9)
        assert monitor.step_complete("Timing", 4)
        monitor.phase_finish("Timing")
        return self.result()
    def result(self): return b"a plan"
class OnnxParser:
    num_errors = 0
    def __init__(self, network, logger): pass
    def parse_from_file(self, path): return True
__version__ = "10.9"
"""


def test_a_build(library, tmp_path: Path, capfd) -> None:
    request = library(LIKE_TENSORRT)
    phases: list[str] = []
    built = build_plan(request, phases.append)
    assert Path(request.plan).read_bytes() == b"a plan"
    assert (built.version, built.size) == ("10.9", 6)
    assert phases == ["reading the graph", "Building", "Timing 5/9"]
    assert not capfd.readouterr().out  # what the library prints is not for the user


def test_the_timing_cache_is_read_and_written(library, tmp_path: Path) -> None:
    request = library(LIKE_TENSORRT)
    timings = tmp_path / "timings"
    timings.write_bytes(b"before")
    build_plan(BuildRequest(**{**request.__dict__, "timing_cache": str(timings)}))
    assert timings.read_bytes() == b"timed before"


def test_a_crash_of_the_library_is_one_sentence(library) -> None:
    request = library(LIKE_TENSORRT.replace('return b"a plan"', "import os; os.abort()"))
    with pytest.raises(
        MachineError, match=r"encoder\.fp16\.onnx: the oddrt builder was ended by SIGABRT"
    ):
        build_plan(request)
    assert not Path(request.plan).exists()


def test_an_early_exit_gives_the_librarys_last_word(library) -> None:
    request = library(
        LIKE_TENSORRT.replace('return b"a plan"', "print('cannot go on'); import os; os._exit(7)")
    )
    with pytest.raises(MachineError, match=r"stopped with code 7 \(.*\)"):
        build_plan(request)


def test_no_plan_gives_the_logged_reason(library) -> None:
    source = LIKE_TENSORRT.replace(
        'def result(self): return b"a plan"',
        "def result(self): self.logger.log('Severity.ERROR', 'out of  memory'); return None",
    )
    with pytest.raises(MachineError, match=r"could not build this engine \(out of memory\)"):
        build_plan(library(source))


def test_no_builder_without_a_driver(library) -> None:
    """pybind11 raises a TypeError when NVIDIA's factory returns null."""
    source = LIKE_TENSORRT.replace(
        "def __init__(self, logger): self.logger = logger",
        "def __init__(self, logger): raise TypeError('factory function returned nullptr')",
    )
    with pytest.raises(MachineError, match="factory function returned nullptr"):
        build_plan(library(source))


def test_a_dynamic_axis_is_the_graphs_fault(library) -> None:
    with pytest.raises(UsageError, match="dynamic axis other than the batch"):
        build_plan(library(LIKE_TENSORRT.replace("(-1, 2, 3)", "(-1, -1, 3)")))


def test_a_library_that_is_not_there(library) -> None:
    request = library("")
    with pytest.raises(MachineError, match="No module named 'absentrt'"):
        build_plan(BuildRequest(**{**request.__dict__, "module": "absentrt"}))


def test_no_graph(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        build_plan(
            BuildRequest(str(tmp_path / "none.onnx"), str(tmp_path / "plan"), profiles_for(1))
        )


def test_an_interrupted_build_goes_with_it(library, tmp_path: Path) -> None:
    request = library(
        LIKE_TENSORRT.replace(
            'return b"a plan"',
            f"import time, os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); "
            "time.sleep(60)",
        )
    )

    def stop(phase: str) -> None:
        if phase.startswith("Timing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(request, stop)
    pid = tmp_path / "pid"
    assert not pid.exists() or not Path(f"/proc/{pid.read_text()}").exists()


def test_a_request_survives_the_pipe() -> None:
    request = BuildRequest(
        "a.onnx", "b", ((1, 1, 1), (2, 4, 4)), timing_cache="t", targets=("SM86",)
    )
    assert BuildRequest.from_json(request.to_json()) == request


def test_the_child_loads_no_torch_and_no_opencv() -> None:
    code = (
        "import sys, json, gasmcast.runtime.engines.trt.builder_process; "
        "print(json.dumps([m for m in ('torch', 'onnx', 'cv2') if m in sys.modules]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(out) == []


@pytest.mark.parametrize(
    ("streams", "profiles"),
    [(1, ((1, 1, 1),)), (2, ((1, 1, 1), (2, 2, 2))), (8, ((1, 1, 1), (2, 8, 8)))],
)
def test_profiles(streams: int, profiles: tuple) -> None:
    assert profiles_for(streams) == profiles


def test_no_streams() -> None:
    with pytest.raises(UsageError, match="--cameras 0"):
        profiles_for(0)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("encoder.onnx", "fp32"),
        ("head.fp16.onnx", "fp16"),
        ("complete.int8_fp16.onnx", "int8_fp16"),
    ],
)
def test_the_precision_is_in_the_name(name: str, precision: str) -> None:
    assert precision_of(Path(name)) == precision
