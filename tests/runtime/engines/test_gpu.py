"""Real TensorRT engines compared with ONNX Runtime; skipped without an NVIDIA device."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.runtime.engine_build import compare_engines
from gasmcast.runtime.engines import open_engine
from gasmcast.runtime.engines.device_row import DeviceWindow
from gasmcast.runtime.engines.tensorrt import compile_graph, missing
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.video.noise import drifting_noise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=f"needs a GPU: {missing()}"),
]


@pytest.fixture
def encoder(tiny_bundle: Path) -> Path:
    return tiny_bundle / "encoder.onnx"


def pixels(engine, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"segments": drifting_noise(batch, engine.inputs["segments"].shape[1:], seed)}


@pytest.mark.parametrize("graphs", [True, False])
def test_same_as_onnxruntime_for_every_batch(encoder: Path, graphs: bool) -> None:
    reference = open_engine(encoder, "onnxruntime")
    engine = compile_graph(encoder, None, None, cameras=4, graphs=graphs)
    assert engine.inputs == reference.inputs
    for batch in (1, 2, 3, 4, 9, 1):
        assert compare_engines(engine, reference, pixels(engine, batch, batch)) > 0.99999
    engine.close()


def test_graphs_change_nothing(encoder: Path) -> None:
    with_graphs, without = (
        compile_graph(encoder, None, None, cameras=2, graphs=graphs) for graphs in (True, False)
    )
    feeds = pixels(with_graphs, 2)
    for name, value in with_graphs.run(feeds).items():
        np.testing.assert_array_equal(value, without.run(feeds)[name])
    assert "CUDA graphs" in with_graphs.describe()


@pytest.mark.parametrize("cameras", [1, 3, 6])
def test_windows_on_the_device_equal_windows_over_the_host(tiny_bundle: Path, cameras: int) -> None:
    """More cameras than the largest batch run in parts; rows of one batch go to several windows."""
    encoder, head = (
        compile_graph(tiny_bundle / f"{name}.onnx", None, None, cameras=4)
        for name in ("encoder", "head")
    )
    segments = head.inputs["motion"].shape[1]
    feeds = [pixels(encoder, cameras, seed) for seed in range(segments)]
    rows = [encoder.run_to_device(feed) for feed in feeds]
    windows = [DeviceWindow(window) for window in zip(*rows, strict=True)]

    features = [encoder.run(feed) for feed in feeds]
    host = {name: np.stack([one[name] for one in features], 1) for name in features[0]}
    for name, value in host.items():
        np.testing.assert_array_equal(np.concatenate([one[name] for one in windows]), value)
    np.testing.assert_array_equal(head.run_from_device(windows)["logits"], head.run(host)["logits"])
    encoder.close()
    head.close()


def test_the_second_start_builds_nothing(encoder: Path) -> None:
    compile_graph(encoder, None, None, cameras=2).close()
    plans = {entry.path: entry.path.stat().st_mtime_ns for entry in EngineCache().entries()}
    began = time.monotonic()
    compile_graph(encoder, None, None, cameras=2).close()
    assert time.monotonic() - began < 30
    assert plans == {entry.path: entry.path.stat().st_mtime_ns for entry in EngineCache().entries()}


def test_a_damaged_engine_is_built_again(encoder: Path) -> None:
    compile_graph(encoder, None, None, cameras=3).close()
    for entry in EngineCache().entries():
        content = bytearray(entry.path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        entry.path.write_bytes(content)
    engine = compile_graph(encoder, None, None, cameras=3)
    assert compare_engines(engine, open_engine(encoder, "onnxruntime"), pixels(engine, 3)) > 0.99999
    engine.close()


def test_the_command_builds_and_compares(tiny_bundle: Path) -> None:
    result = CliRunner().invoke(app, ["engine", "build", str(tiny_bundle), "--cameras", "2"])
    assert result.exit_code == 0, result.output
    assert result.output.count("ok  ") == 2


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8_fp16"])
def test_the_models_own_encoder_in_every_precision(
    precision: str, tiny_export, tmp_path: Path
) -> None:
    """Every branch of the model at a tiny size.

    Attention, 3-D convolutions, the graph's TopK and Gather, Q/DQ around FP16.
    """
    onnx = pytest.importorskip("onnx")
    from gasmcast.calibration.policy import Policy
    from gasmcast.calibration.qdq import ALL_LEVELS
    from gasmcast.calibration.quantize import collect_ranges
    from gasmcast.export.checks.reference_engines import open_reference
    from gasmcast.export.graphs.fp16 import to_fp16
    from gasmcast.export.graphs.graph_file import save_graph

    fp32 = onnx.load(str(tiny_export[2]["encoder"]))
    shape = tiny_export[1].spec.pair_shape
    feeds = [{"segments": drifting_noise(1, shape, seed)} for seed in range(4)]
    made = {
        "fp32": lambda: fp32,
        "fp16": lambda: to_fp16(fp32),
        "int8_fp16": lambda: to_fp16(
            collect_ranges(fp32, lambda: iter(feeds)).quantize(Policy(), ALL_LEVELS)
        ),
    }[precision]()
    path = save_graph(made, tmp_path / "encoder.onnx")
    engine = compile_graph(path, None, None, cameras=2)
    assert compare_engines(
        engine, open_reference(path), {"segments": drifting_noise(2, shape, 9)}
    ) > (0.9999 if precision == "fp32" else 0.99)
    engine.close()
