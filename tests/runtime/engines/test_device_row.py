"""Tensors that stay in device memory between two runs, with a fake TensorRT and CUDA."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.engines import ResidentEngine
from gasmcast.runtime.engines.device_row import DeviceRow, DeviceWindow, RowLayout
from gasmcast.runtime.engines.tensorrt import TensorRTEngine, compile_graph
from gasmcast.runtime.engines.trt.device_blocks import DeviceBlocks

ROW = 12  # bytes of y: three numbers in FP32


def feeds(batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.integers(0, 255, (batch, 3), np.uint8),
        "z": rng.normal(size=(batch, 2)).astype(np.float32),
    }


@pytest.fixture
def engine(machine, graph) -> TensorRTEngine:
    """Engine that has run; what it has copied and allocated so far is not counted."""
    made = compile_graph(graph, None, None)
    made.run(feeds(1))
    machine.allocated_before = len(machine.cuda.device)
    machine.cuda.copied.clear()
    machine.cuda.calls.clear()
    return made


@pytest.fixture
def bundle_engines(machine, tiny_bundle) -> tuple[TensorRTEngine, TensorRTEngine]:
    """Encoder and head of the tiny bundle, which compute."""
    pytest.importorskip("onnxruntime")
    machine.trt.graphs = []
    encoder = compile_graph(tiny_bundle / "encoder.onnx", None, None)
    return encoder, compile_graph(tiny_bundle / "head.onnx", None, None)


def pairs(encoder: TensorRTEngine, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    shape = encoder.inputs["segments"].shape[1:]
    values = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    return {"segments": values}


def blocks_of(machine) -> int:
    """Number of allocations on the device since the engine was made: blocks of one row."""
    return len(machine.cuda.device) - machine.allocated_before


@pytest.mark.parametrize(
    ("shapes", "dtype", "offsets", "nbytes"),
    [
        ({"semantic": (2, 4, 8), "motion": (2, 8)}, "f4", [0, 256], 320),
        ({"semantic": (3, 5), "motion": (1,)}, "f2", [0, 256], 258),
        ({"semantic": (0, 8), "motion": (2, 8)}, "f4", [0, 0], 64),  # a model of one stream
    ],
)
def test_tensors_of_a_row_are_aligned(shapes, dtype, offsets, nbytes) -> None:
    layout = RowLayout(shapes, dict.fromkeys(shapes, np.dtype(dtype)))
    assert [one.offset for one in layout.tensors.values()] == offsets
    assert layout.nbytes == nbytes


def test_the_engine_has_the_capability_and_cpu_engines_do_not(engine, tiny_bundle) -> None:
    from gasmcast.runtime.engines import open_engine

    assert isinstance(engine, ResidentEngine)
    assert not isinstance(open_engine(tiny_bundle / "head.onnx", "openvino", 1), ResidentEngine)


@pytest.mark.parametrize("output", ["FLOAT", "HALF"])
@pytest.mark.parametrize("batch", [1, 2, 4, 5, 9])
def test_rows_are_what_run_returns_and_the_next_run_does_not_overwrite_them(
    machine, graph, batch: int, output: str
) -> None:
    machine.trt.output = output
    engine = compile_graph(graph, None, None)
    expected = [engine.run(feeds(batch, seed))["y"] for seed in range(3)]
    machine.cuda.copied.clear()
    kept = [engine.run_to_device(feeds(batch, seed)) for seed in range(3)]

    # Nothing but the inputs travels: 3 bytes of x and 8 of z per row.
    size = ROW if output == "FLOAT" else ROW // 2
    assert machine.cuda.copied == {"up": 3 * batch * 11, "within": 3 * batch * size}
    for rows, wanted in zip(kept, expected, strict=True):
        got = np.stack([row.to_host("y") for row in rows])
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, wanted)
    assert machine.cuda.copied["down"] == 3 * batch * size


def test_the_order_of_calls(machine, engine) -> None:
    kept = engine.run_to_device(feeds(1))
    # The copy into the row follows the network, and the wait comes before anybody has the row.
    assert machine.cuda.calls == ["upload", "upload", "launch", "copy", "wait"]
    assert len(kept) == 1


def test_blocks_are_used_again_and_freed_when_nobody_uses_them(machine, engine) -> None:
    kept = [engine.run_to_device(feeds(4, seed)) for seed in range(3)]
    assert blocks_of(machine) == 12
    wanted = [row.to_host("y") for row in kept[2]]

    # Two batches are dropped; the next one takes from their blocks, and no row changes.
    blocks = kept[0][0].blocks
    del kept[:2]
    again = engine.run_to_device(feeds(4, 9))
    assert blocks_of(machine) == 12
    np.testing.assert_array_equal([row.to_host("y") for row in kept[0]], wanted)

    blocks.trim()
    assert blocks_of(machine) == 8
    del again, kept
    blocks.trim()
    assert blocks_of(machine) == 0


def test_a_failed_allocation_is_one_sentence_and_leaves_nothing_behind(machine, engine) -> None:
    used = sum(map(len, machine.cuda.device.values()))
    machine.cuda.limit = used + 3 * ROW
    with pytest.raises(MachineError, match="MB more for encoded segments") as caught:
        engine.run_to_device(feeds(4))
    assert "Use fewer cameras" in caught.value.hint
    # Nothing was enqueued, and the three blocks that it had are there for the next batch.
    assert machine.cuda.calls == []
    del caught
    gc.collect()
    assert len(engine.run_to_device(feeds(3))) == 3
    assert blocks_of(machine) == 3


def test_a_closed_engine_frees_rows_and_says_so(machine, engine) -> None:
    row = engine.run_to_device(feeds(1))[0]
    engine.close()
    assert (machine.cuda.memory, machine.cuda.streams) == ({}, 0)
    for read in (row.to_host, row.address):
        with pytest.raises(MachineError, match="the engine that made them was closed"):
            read("y")

    # What is left of the camera may end in any order.
    row.blocks.trim()
    del read
    del row
    with pytest.raises(MachineError, match="The engine was closed"):
        engine.run_to_device(feeds(1))


def test_rows_of_many_threads(machine, engine) -> None:
    """Rows are made, read and dropped in several threads; none gets the block of another."""
    wrong = []

    def work(seed: int) -> None:
        kept = []
        for i in range(20):
            given = feeds(1 + (seed + i) % 6, seed * 100 + i)
            expected = given["x"].astype(np.float32) * 2 + given["z"].sum(1, keepdims=True)
            kept.append((engine.run_to_device(given), expected))
            rows, wanted = kept.pop(0) if len(kept) > 3 else kept[0]
            if not np.allclose([row.to_host("y") for row in rows], wanted, rtol=1e-6):
                wrong.append(seed)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert not wrong
    assert 0 < blocks_of(machine) <= 4 * 5 * 6


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_a_head_reads_windows_where_they_are(machine, bundle_engines, count: int) -> None:
    encoder, head = bundle_engines
    windows, expected = [], []
    for seed in range(count):
        given = pairs(encoder, 4, seed)
        windows.append(DeviceWindow(tuple(encoder.run_to_device(given))))
        features = encoder.run(given)
        host = {name: value[None] for name, value in features.items()}
        expected.append(head.run(host)["logits"][0])

    machine.cuda.copied.clear()
    np.testing.assert_array_equal(head.run_from_device(windows)["logits"], expected)
    # Rows of (2, 1, 4, 8) and (2, 1, 8) numbers, four to a window; logits of three classes.
    row = 4 * (2 * 1 * 4 * 8 + 2 * 1 * 8)
    assert machine.cuda.copied == {"within": count * 4 * row, "down": count * 3 * 4}


def test_a_window_is_a_mapping_that_copies_what_is_read(machine, bundle_engines) -> None:
    encoder, _ = bundle_engines
    given = pairs(encoder, 4)
    window = DeviceWindow(tuple(encoder.run_to_device(given)))
    expected = encoder.run(given)
    machine.cuda.copied.clear()

    assert list(window) == ["semantic", "motion"]
    assert (len(window), "motion" in window) == (2, True)
    assert machine.cuda.copied == {}
    assert window["motion"].shape == (1, 4, 2, 1, 8)
    assert machine.cuda.copied == {"down": 4 * 64}
    for name, value in window.items():
        np.testing.assert_array_equal(value[0], expected[name])


@pytest.mark.parametrize("what", ["none", "short", "foreign"])
def test_windows_that_do_not_fit(machine, graph, bundle_engines, what: str) -> None:
    encoder, head = bundle_engines
    rows = tuple(encoder.run_to_device(pairs(encoder, 4)))
    windows = {
        "none": [],
        "short": [DeviceWindow(rows), DeviceWindow(rows[:3])],
        "foreign": [DeviceWindow(tuple(head_rows(head, rows)))],
    }[what]
    machine.cuda.calls.clear()
    with pytest.raises(UsageError, match="no window" if what == "none" else "of a window is"):
        head.run_from_device(windows)
    assert machine.cuda.calls == []


def head_rows(head: TensorRTEngine, rows: tuple[DeviceRow, ...]) -> list[DeviceRow]:
    """Return rows of logits, which no head takes."""
    window = DeviceWindow(rows)
    return head.run_to_device(dict(window)) * 4


def test_a_block_of_another_thread_is_given_back_without_a_lock(machine) -> None:
    """Python may drop a row while this very thread allocates: `give` must not wait for the lock."""
    blocks = DeviceBlocks(16)
    address = blocks.take()
    with blocks._lock:
        blocks.give(address)
    assert blocks.take() == address
    blocks.close()
    assert machine.cuda.device == {}
