"""The TensorRT engine with a fake TensorRT and CUDA: order of calls, batches, graphs, errors."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines import TensorSpec, choose_backend, open_engine
from gasmcast.runtime.engines.tensorrt import compile_graph, missing
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.runtime.engines.trt.library import gaps


def feeds(batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.integers(0, 255, (batch, 3), np.uint8),
        "z": rng.normal(size=(batch, 2)).astype(np.float32),
    }


def expected(given: dict[str, np.ndarray]) -> np.ndarray:
    return given["x"].astype(np.float32) * 2 + given["z"].sum(1, keepdims=True)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 9])
def test_every_batch_is_right_also_in_parts(machine, graph, batch: int) -> None:
    engine = compile_graph(graph, None, None)
    for seed in range(3):
        given = feeds(batch, seed)
        np.testing.assert_allclose(engine.run(given)["y"], expected(given), rtol=1e-6)


def test_a_result_belongs_to_the_caller(machine, graph) -> None:
    engine = compile_graph(graph, None, None)
    first = engine.run(feeds(2, 0))["y"]
    copy = first.copy()
    engine.run(feeds(2, 1))
    np.testing.assert_array_equal(first, copy)


def test_the_order_of_calls(machine, graph) -> None:
    engine = compile_graph(graph, None, None, cameras=2)
    warm = ["bind x", "bind z", "bind y", "execute", "execute", "wait"]
    capture = ["capture", "execute", "captured"]
    shape = ["profile 1", "wait", "shape x (2, 3)", "shape z (2, 2)"]
    zeros = ["upload", "upload"]
    start = ["device", "runtime", "context", *shape, *zeros, *warm, *capture]
    assert machine.cuda.calls == start

    run = ["upload", "upload", "launch", "download", "wait"]
    machine.cuda.calls.clear()
    engine.run(feeds(2))
    assert machine.cuda.calls == run

    # A batch not seen: a context of its own, warmed and captured, in the profile tuned for one.
    machine.cuda.calls.clear()
    engine.run(feeds(1))
    shape = ["profile 0", "wait", "shape x (1, 3)", "shape z (1, 2)"]
    assert machine.cuda.calls == ["context", *shape, *warm, *capture, *run]


def test_a_graph_survives_other_batches(machine, graph) -> None:
    engine = compile_graph(graph, None, None)
    for batch in (3, 1, 4, 3, 1):
        given = feeds(batch, batch)
        np.testing.assert_allclose(engine.run(given)["y"], expected(given), rtol=1e-6)
    assert machine.cuda.graphs == 3


def test_no_capture_runs_without_and_says_so(machine, graph, caplog) -> None:
    machine.cuda.capturable = False
    engine = compile_graph(graph, None, None, cameras=2)
    assert "no CUDA graph" in caplog.text
    assert "no CUDA graph for batch 2" in engine.describe()
    machine.cuda.calls.clear()
    given = feeds(2)
    np.testing.assert_allclose(engine.run(given)["y"], expected(given), rtol=1e-6)
    assert machine.cuda.calls == ["upload", "upload", "execute", "download", "wait"]


def test_graphs_can_be_switched_off(machine, graph) -> None:
    engine = compile_graph(graph, None, None, graphs=False)
    given = feeds(4)
    np.testing.assert_allclose(engine.run(given)["y"], expected(given), rtol=1e-6)
    assert "capture" not in machine.cuda.calls


def test_specs_and_description(machine, graph) -> None:
    engine = compile_graph(graph, None, None)
    assert engine.inputs == {
        "x": TensorSpec((None, 3), np.dtype("u1")),
        "z": TensorSpec((None, 2), np.dtype("f4")),
    }
    assert engine.outputs == {"y": TensorSpec((None, 3), np.dtype("f4"))}
    assert (
        engine.describe() == "tensorrt 10.3.0 on Fake RTX (SM 8.9), fp16, batch 1..4, CUDA graphs"
    )


def test_half_outputs_come_as_float32(machine, graph) -> None:
    machine.trt.output = "HALF"
    result = compile_graph(graph, None, None).run(feeds(2))["y"]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected(feeds(2)), rtol=2e-3)


def test_a_fixed_batch(machine, graph) -> None:
    machine.trt.fixed, machine.trt.profiles = True, [(2, 2)]
    engine = compile_graph(graph, None, None)
    np.testing.assert_allclose(engine.run(feeds(2))["y"], expected(feeds(2)), rtol=1e-6)
    with pytest.raises(UsageError, match="x must be"):
        engine.run(feeds(1))


def test_a_profile_miss_says_which_there_are(machine, graph) -> None:
    machine.trt.profiles = [(2, 4)]
    engine = compile_graph(graph, None, None)
    with pytest.raises(UsageError, match=r"batch of 1 is in no profile of this engine \(2\.\.4\)"):
        engine.run(feeds(1))
    engine.run(feeds(2))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("refuses_shapes", "refused a batch of 4 for x"),
        ("fails", "could not enqueue"),
        ("full", "gave no execution context"),
    ],
)
def test_a_refusal_is_one_sentence_and_gives_all_memory_back(
    machine, graph, what: str, message: str
) -> None:
    machine.trt.prepare = lambda engine: setattr(engine, what, True)
    with pytest.raises(MachineError, match=message):
        compile_graph(graph, None, None)
    assert not machine.cuda.memory
    assert not machine.cuda.streams


def test_out_of_device_memory(machine, graph) -> None:
    machine.cuda.limit = 4150
    with pytest.raises(MachineError, match=r"could not take .* Use fewer cameras"):
        compile_graph(graph, None, None)
    assert not machine.cuda.memory


def test_wrong_inputs(machine, graph) -> None:
    engine = compile_graph(graph, None, None)
    with pytest.raises(UsageError, match="takes x, z"):
        engine.run({"x": feeds(1)["x"]})
    with pytest.raises(UsageError, match="z must be"):
        engine.run(feeds(1) | {"z": np.zeros((1, 2))})


def test_close_gives_everything_back(machine, graph) -> None:
    engine = compile_graph(graph, None, None)
    engine.run(feeds(3))
    engine.close()
    assert (machine.cuda.memory, machine.cuda.graphs, machine.cuda.streams) == ({}, 0, 0)
    for run in (engine.run, engine.run_to_device):
        with pytest.raises(MachineError, match="The engine was closed"):
            run(feeds(1))


def test_threads_wait_for_each_other(machine, graph) -> None:
    engine = compile_graph(graph, None, None)
    wrong = []

    def work(seed: int) -> None:
        for i in range(20):
            given = feeds(1 + (seed + i) % 6, seed * 100 + i)
            if not np.allclose(engine.run(given)["y"], expected(given), rtol=1e-6):
                wrong.append(seed)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert not wrong


def test_the_second_start_takes_the_engine_from_the_cache(machine, graph) -> None:
    compile_graph(graph, None, None)
    compile_graph(graph, None, None)
    assert len(machine.built) == 1


def test_an_engine_for_more_cameras_serves(machine, graph) -> None:
    compile_graph(graph, None, None, cameras=8)
    engine = compile_graph(graph, None, None)  # as `live` does: any that fits, the widest first
    assert engine.max_batch == 8
    assert len(machine.built) == 1


def test_a_refused_engine_is_built_again_once(machine, graph, caplog) -> None:
    compile_graph(graph, None, None)
    machine.trt.refuse = 1
    with caplog.at_level(logging.WARNING):
        compile_graph(graph, None, None)
    assert "building again" in caplog.text
    assert len(machine.built) == 2
    machine.trt.refuse = 2
    with pytest.raises(MachineError, match="does not take the engine that it just built"):
        compile_graph(graph, None, None)
    assert not EngineCache().entries()


@pytest.mark.parametrize("change", ["graph", "version", "device", "precision", "cameras"])
def test_a_change_of_anything_builds_again(machine, graph, change: str, monkeypatch) -> None:
    compile_graph(graph, None, None)
    cameras = None
    if change == "graph":
        graph.write_bytes(b"\x12\x05other")
    elif change == "version":
        machine.trt.__version__ = "10.13.3"
    elif change == "device":
        orin = SimpleNamespace(name=b"Orin", major=8, minor=7, totalGlobalMem=8 << 30)
        monkeypatch.setattr(machine.cuda, "cudaGetDeviceProperties", lambda index: (0, orin))
    elif change == "precision":
        graph = graph.rename(graph.with_name("encoder.int8_fp16.onnx"))
    else:
        cameras = 2
    compile_graph(graph, None, None, cameras=cameras)
    assert len(machine.built) == 2


def test_a_known_checksum_is_the_files_own(machine, graph) -> None:
    from gasmcast.files import sha256_of

    compile_graph(graph, None, sha256_of(graph))
    compile_graph(graph, None, None)
    assert len(machine.built) == 1


def test_auto_takes_tensorrt_where_all_is_there(machine, graph) -> None:
    assert choose_backend("auto")[0] == "tensorrt"
    assert "tensorrt" in open_engine(graph).describe()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"driver": 0}, "There is no NVIDIA driver"),
        ({"driver": 12060}, r"supports CUDA 12\.6, cuda-bindings wants 13\.5.*cuda-bindings<13"),
        ({"error": "cudaErrorNoDevice"}, "sees no device.*CUDA_VISIBLE_DEVICES"),
        ({"error": "cudaSuccess"}, "sees no device"),
        ({"error": "cudaErrorMemoryAllocation"}, "CUDA does not start"),
    ],
)
def test_no_device_is_found_out_before_the_runtime_is_made(
    machine, graph, state: dict, message: str
) -> None:
    error = type(machine.cuda.devices[0])[state.get("error", "cudaErrorInsufficientDriver")]
    machine.cuda.devices, machine.cuda.driver = (error, 0), state.get("driver", 13050)
    with pytest.raises(MachineError, match=message) as caught:
        compile_graph(graph, None, None)
    assert caught.value.exit_code == 3
    assert "runtime" not in machine.cuda.calls
    assert not machine.built
    assert choose_backend("auto")[0] != "tensorrt"


@pytest.mark.parametrize(
    ("version", "fits"),
    [("10.2.1", False), ("10.3.0", True)],
)
def test_only_versions_that_were_checked(machine, version: str, fits: bool) -> None:
    machine.trt.__version__ = version
    assert (missing() == "") == fits


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert missing() == "the package tensorrt is missing, the package cuda-bindings is missing"
    assert all(gap.hint for gap in gaps())


def test_bindings_without_their_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    import sys

    (tmp_path / "tensorrt.py").write_text(
        "raise ImportError('libnvinfer.so.11: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert "without its libraries (libnvinfer.so.11" in missing()
