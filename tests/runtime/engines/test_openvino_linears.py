"""INT8 linear layers as convolutions give the same results, for tokens of any rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gasmcast.runtime.engines import open_engine
from gasmcast.runtime.engines import openvino as backend
from gasmcast.runtime.engines.openvino_linears import lacks_vnni, linears_to_convolutions

CHANNELS, OUT = 16, 24
ONE_THREAD = {
    "INFERENCE_NUM_THREADS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
}  # left alone, a processor with BF16 rounds to it


def write_linear(
    path: Path,
    tokens: tuple[int, ...],
    *,
    zero: int = 0,
    bias: bool = True,
    per_channel: bool = True,
    active: str = "Gelu",
    rest: type[np.floating] = np.float32,
) -> Path:
    """A feed-forward on `(B, *tokens, 16)`.

    Q/DQ -> linear with INT8 weights -> GELU -> Q/DQ -> linear -> residual.
    """
    import onnx
    from onnx import TensorProto as T
    from onnx import helper as h
    from onnx import numpy_helper

    rng = np.random.default_rng(0)
    constants, nodes, x = [], [], "x"

    def constant(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    for i, (wide, out) in enumerate(((CHANNELS, OUT), (OUT, CHANNELS))):
        scale, point = constant(f"scale{i}", rest(0.02)), constant(f"zero{i}", np.int8(zero))
        scales = constant(
            f"scales{i}", rng.uniform(0.001, 0.01, out).astype(rest) if per_channel else rest(0.005)
        )
        points = constant(f"points{i}", np.zeros(out, np.int8) if per_channel else np.int8(0))
        integers = constant(f"integers{i}", rng.integers(-64, 65, (wide, out)).astype(np.int8))
        nodes += [
            h.make_node("QuantizeLinear", [x, scale, point], [f"q{i}"]),
            h.make_node("DequantizeLinear", [f"q{i}", scale, point], [f"dq{i}"]),
            h.make_node("DequantizeLinear", [integers, scales, points], [f"w{i}"], axis=1),
            h.make_node("MatMul", [f"dq{i}", f"w{i}"], [f"y{i}"]),
        ]
        x = f"y{i}"
        if bias:
            nodes.append(
                h.make_node(
                    "Add", [constant(f"bias{i}", rng.normal(0, 1, out).astype(rest)), x], [f"b{i}"]
                )
            )
            x = f"b{i}"
        if i == 0:
            nodes.append(h.make_node(active, [x], ["active"]))
            x = "active"
    nodes.append(h.make_node("Add", ["x", x], ["y"]))
    shape = ["B", *tokens, CHANNELS]
    ports = [
        [h.make_tensor_value_info(name, T.FLOAT if rest is np.float32 else T.FLOAT16, shape)]
        for name in ("x", "y")
    ]
    model = h.make_model(
        h.make_graph(nodes, "linear", *ports, constants),
        opset_imports=[h.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("bias", "active"), [(True, "Gelu"), (False, "Gelu"), (True, "Tanh")])
@pytest.mark.parametrize("tokens", [(7,), (3, 7), (2, 3, 7)])
def test_the_rewritten_network_gives_what_the_file_says(
    tmp_path, monkeypatch, tokens, bias, active
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = write_linear(tmp_path / "linear.onnx", tokens, bias=bias, active=active)
    model = backend.the_core().read_model(str(path))
    assert linears_to_convolutions(model) == 2
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert kinds.count("Convolution") == 2
    assert kinds.count("Transpose") == (2 if active == "Gelu" else 4), (
        "tokens stay turned from one layer of a feed-forward to the next"
    )
    assert "MatMul" not in kinds
    x = np.random.default_rng(1).normal(0, 1, (2, *tokens, CHANNELS)).astype(np.float32)
    want = open_engine(path, "onnxruntime", 1).run({"x": x})["y"]
    for lacks in (True, False):
        monkeypatch.setattr(backend, "lacks_vnni", lambda lacks=lacks: lacks)
        got = open_engine(path, "openvino", 1).run({"x": x})["y"]
        off = np.abs(got - want)
        assert np.mean(off > 1e-4) < 0.02, (
            "a value halfway between two integers may round either way, the rest is the same"
        )
        assert off.max() < 0.05


def test_a_file_with_an_fp16_rest_is_rewritten_in_its_own_types(tmp_path):
    path = write_linear(tmp_path / "linear.onnx", (3, 7), rest=np.float16)
    model = backend.the_core().read_model(str(path))
    assert linears_to_convolutions(model) == 2
    x = np.random.default_rng(1).normal(0, 1, (2, 3, 7, CHANNELS)).astype(np.float16)
    want = open_engine(path, "onnxruntime", 1).run({"x": x})["y"].astype(np.float32)
    got = backend.the_core().compile_model(model, "CPU", ONE_THREAD)({"x": x})[0].astype(np.float32)
    assert np.abs(got - want).mean() < 0.01


@pytest.mark.parametrize(
    ("tokens", "more"), [((), {}), ((7,), {"zero": 3}), ((7,), {"per_channel": False})]
)
def test_what_is_no_such_layer_is_left_alone(tmp_path, tokens, more):
    """Layers that are left alone: rank 2, one scale for all channels, zero points other than 0."""
    path = write_linear(tmp_path / "linear.onnx", tokens, **more)
    model = backend.the_core().read_model(str(path))
    count = linears_to_convolutions(model)
    assert count == (2 if more.get("zero") else 0)
    x = np.random.default_rng(1).normal(0, 1, (2, *tokens, CHANNELS)).astype(np.float32)
    want = open_engine(path, "onnxruntime", 1).run({"x": x})["y"]
    got = backend.the_core().compile_model(model, "CPU", ONE_THREAD)({"x": x})[0]
    assert np.mean(np.abs(got - want) > 1e-4) < 0.02


@pytest.mark.parametrize(
    ("flags", "lacks"),
    [
        ("flags\t\t: fpu avx2 fma", True),
        ("flags\t\t: fpu avx2 avx512_vnni", False),
        ("flags : avx_vnni", False),
        ("", False),
    ],
)
def test_the_processor_says_whether_it_has_vnni(tmp_path, monkeypatch, flags, lacks):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{flags}\n")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert lacks_vnni(cpuinfo) is lacks
    assert not lacks_vnni(tmp_path / "none")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not lacks_vnni(cpuinfo)
