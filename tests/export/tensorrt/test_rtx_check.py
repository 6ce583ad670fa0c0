"""Every graph in every precision through TensorRT-RTX, which compiles for NVIDIA cards without one.

And graphs that must be refused.

Here a small model of every part; at real size (`make test-engines`, or GASMCAST_REAL_SIZE=1) the
`ssv2` preset.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.errors import MachineError, UsageError
from gasmcast.export.graphs.rules import check_rules
from gasmcast.export.tensorrt.layer_log import read_layers
from gasmcast.export.tensorrt.rtx_check import (
    EngineCheck,
    Product,
    check_engine,
    checker_missing,
)
from gasmcast.runtime.engines.trt.build import build_plan
from gasmcast.runtime.engines.trt.builder_process import BuildRequest
from gasmcast.runtime.engines.trt.engine_key import profiles_for

pytestmark = [
    pytest.mark.skipif(bool(checker_missing()), reason=f"needs TensorRT-RTX: {checker_missing()}"),
    pytest.mark.timeout(
        900
    ),  # tracing the small model is 25 s of one core, and the first test waits for it
]

SMALL = {"model.layers": 1, "model.semantic_taps": [1], "model.motion_taps": ["layer2"]}
PRECISIONS = ("fp32", "fp16", "int8", "int8_fp16")
GRAPHS = ("encoder", "head", "complete")


def export_all(preset: str, folder: Path, overrides: dict | None = None) -> Path:
    """All graphs in all precisions with files of their own; random weights, synthetic pixels."""
    import torch

    from gasmcast.calibration.policy import Policy
    from gasmcast.calibration.qdq import ALL_LEVELS, SAFE_LEVELS
    from gasmcast.calibration.quantize import collect_ranges
    from gasmcast.config import load_config
    from gasmcast.export.graphs.compose import compose_complete
    from gasmcast.export.graphs.fp16 import to_fp16
    from gasmcast.export.graphs.graph_file import save_graph
    from gasmcast.export.graphs.trace import export_onnx
    from gasmcast.models.model import build_model
    from gasmcast.runtime.engines import open_engine
    from gasmcast.video.noise import drifting_noise

    torch.manual_seed(0)
    config = load_config(
        preset,
        {"model.semantic_weights": "random", "model.motion_weights": "random", **(overrides or {})},
    )
    paths = export_onnx(build_model(config), folder)
    spec = config.spec
    pairs = [{"segments": drifting_noise(1, spec.pair_shape, seed)} for seed in range(2)]
    engine = open_engine(paths["encoder"], "onnxruntime")
    rows = [engine.run(pair) for pair in pairs]
    features = [
        {
            name: np.stack([rows[(i + k) % 2][name] for i in range(spec.segments)], 1)
            for name in rows[0]
        }
        for k in range(2)
    ]
    fp32 = {name: onnx.load(str(path)) for name, path in paths.items()}
    feeds = {"encoder": pairs, "head": features}
    fp16 = {name: to_fp16(fp32[name]) for name in feeds}
    seen = {
        name: collect_ranges(fp32[name], lambda f=feed: iter(f)) for name, feed in feeds.items()
    }
    int8 = {name: seen[name].quantize(Policy(), SAFE_LEVELS) for name in feeds}
    int8_fp16 = {name: to_fp16(seen[name].quantize(Policy(), ALL_LEVELS)) for name in feeds}
    for precision, graphs in (("fp16", fp16), ("int8", int8), ("int8_fp16", int8_fp16)):
        graphs["complete"] = compose_complete(graphs["encoder"], graphs["head"], spec)
        for name, graph in graphs.items():
            save_graph(graph, folder / f"{name}.{precision}.onnx")
    return folder


def file_of(folder: Path, graph: str, precision: str) -> Path:
    return folder / (f"{graph}.onnx" if precision == "fp32" else f"{graph}.{precision}.onnx")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_all("demo", tmp_path_factory.mktemp("small"), SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_builds_in_the_precision_of_its_file(
    small: Path, graph: str, precision: str
) -> None:
    check = check_engine(file_of(small, graph, precision), cameras=2)
    assert check, str(check)
    assert_types(check, precision)


def assert_types(check: EngineCheck, precision: str) -> None:
    """The layer report must show no product above the file's precision, and INT8 by policy."""
    assert check.products
    assert all(product.got for product in check.products), [
        p.node for p in check.products if not p.got
    ]
    if not precision.startswith("int8"):
        assert set(check.count()) == {precision}
        return
    high = [p.node for p in check.products if p.op == "Conv" and p.got != "int8"]
    # The two stems (three input channels) and the depthwise convolutions of the temporal adapter;
    # every other one is INT8.
    assert all("stem" in node or "patch_embed" in node or "adapter" in node for node in high), high
    linears = vit_linears(check)
    assert all(p.got == "int8" for p in linears), [p.node for p in linears if p.got != "int8"]
    assert check.count()["int8"] > 0


def vit_linears(check: EngineCheck) -> list[Product]:
    return [
        p
        for p in check.products
        if "vit.blocks" in p.node
        and any(part in p.node for part in (".qkv", ".proj", ".fc1", ".fc2"))
    ]


def test_the_profiles_of_a_device_build(small: Path, tmp_path: Path) -> None:
    """One profile for a single camera, one for 2..N, as `gasmcast engine build` requests them."""
    request = BuildRequest(
        str(small / "encoder.fp16.onnx"),
        str(tmp_path / "plan"),
        profiles_for(4),
        module="tensorrt_rtx",
        targets=("SM89",),
    )
    phases: list[str] = []
    built = build_plan(request, phases.append)
    assert built.size == Path(request.plan).stat().st_size > 10_000
    assert phases[0] == "reading the graph"
    assert len(phases) > 1


def test_the_same_graph_gives_the_same_engine(small: Path, tmp_path: Path) -> None:
    plans = []
    for name in "ab":
        request = BuildRequest(
            str(small / "encoder.onnx"),
            str(tmp_path / name),
            profiles_for(1),
            module="tensorrt_rtx",
            targets=("SM86",),
        )
        build_plan(request)
        plans.append((tmp_path / name).read_bytes())
    assert plans[0] == plans[1]


# What must be refused: each graph is sound ONNX, and TensorRT takes none of them.

X, Y = ["batch", 8, 4, 8, 8], ["batch", 8, 4, 8, 8]


def save(
    path: Path,
    nodes: list,
    constants: dict,
    *,
    x=(T.FLOAT, X),
    y=(T.FLOAT, Y),
    opset: int = 20,
    domain: str = "",
) -> Path:
    graph = h.make_graph(
        nodes,
        "bad",
        [h.make_tensor_value_info("x", *x)],
        [h.make_tensor_value_info("y", *y)],
        [
            v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(np.asarray(v), n)
            for n, v in constants.items()
        ],
    )
    imports = [h.make_opsetid("", opset), *([h.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(h.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


ZERO = np.int8(0)


def quantized(path: Path, *, zero=ZERO, bias: bool = False) -> Path:
    """A quantized 3-D convolution, as onnxruntime's defaults or ours would write it."""
    rng = np.random.default_rng(0)
    constants = {
        "s": np.float32(0.02),
        "z": zero,
        "w": rng.integers(-127, 127, (8, 8, 3, 3, 3)).astype(np.int8),
        "ws": np.full(8, 0.01, np.float32),
        "wz": np.zeros(8, np.int8),
    }
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="quantize"),
        h.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="dequantize"),
        h.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="weights", axis=0),
    ]
    inputs = ["xd", "wd"]
    if bias:
        constants |= {"b": np.arange(8, dtype=np.int32), "bs": np.full(8, 2e-4, np.float32)}
        nodes.append(h.make_node("DequantizeLinear", ["b", "bs"], ["bd"], name="bias", axis=0))
        inputs.append("bd")
    nodes.append(h.make_node("Conv", inputs, ["y"], name="conv", pads=[1] * 6))
    return save(path, nodes, constants)


def fp8(path: Path) -> Path:
    w8 = h.make_tensor(
        "w",
        T.FLOAT8E4M3FN,
        [8, 8],
        np.random.default_rng(0).integers(0, 100, 64, np.uint8).tobytes(),
        raw=True,
    )
    zero = h.make_tensor("z", T.FLOAT8E4M3FN, [], b"\0", raw=True)
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        h.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        h.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        h.make_node("MatMul", ["xd", "wd"], ["y"], name="product"),
    ]
    return save(
        path,
        nodes,
        {"s": np.float32(0.02), "z": zero, "w": w8},
        x=(T.FLOAT, ["batch", 16, 8]),
        y=(T.FLOAT, ["batch", 16, 8]),
    )


def attention(path: Path) -> Path:
    shape = (T.FLOAT, ["batch", 2, 16, 32])
    return save(
        path,
        [h.make_node("Attention", ["x", "x", "x"], ["y"], name="attend")],
        {},
        x=shape,
        y=shape,
        opset=23,
    )


def unknown(path: Path) -> Path:
    return save(
        path,
        [h.make_node("Sharpen", ["x"], ["y"], name="sharpen", domain="mine")],
        {},
        domain="mine",
    )


def early_transpose(path: Path) -> Path:
    nodes = [
        h.make_node("Transpose", ["x"], ["t"], name="turn", perm=[0, 2, 1]),
        h.make_node("Cast", ["t"], ["y"], to=T.FLOAT),
    ]
    return save(path, nodes, {}, x=(T.UINT8, ["batch", 4, 8]), y=(T.FLOAT, ["batch", 8, 4]))


BAD = {
    "asymmetric": (lambda p: quantized(p, zero=np.int8(3)), "Non-zero zero point is not supported"),
    "uint8": (
        lambda p: quantized(p, zero=np.uint8(128)),
        "unsupported input type of UINT8|[Zz]ero point|type",
    ),
    "int32-bias": (lambda p: quantized(p, bias=True), "Int32 but must have type"),
    "attention-fp32": (
        attention,
        "Attention operation was not supported|ended by SIG",
    ),  # the same graph: a message or a crash
    "unknown-operator": (unknown, "Plugin not found"),
    "uint8-before-cast": (early_transpose, "has type UInt8 but must have type"),
}


@pytest.mark.parametrize("name", BAD)
def test_known_bad_graphs_are_refused_by_tensorrt_and_by_our_rules(
    name: str, tmp_path: Path
) -> None:
    make, reason = BAD[name]
    path = make(tmp_path / f"{name}.onnx")
    check = check_engine(path, cameras=2, targets=("SM86",))
    assert not check
    assert re.search(reason, check.failure), check.failure
    assert path.name in check.failure
    assert not re.search(r"_src/|\.cpp", check.failure), (
        check.failure
    )  # NVIDIA's own source positions help nobody
    assert not check_rules(path), (
        "TensorRT refuses this graph; a static rule should have said so first"
    )


def test_the_good_twin_of_the_bad_ones_builds(tmp_path: Path) -> None:
    check = check_engine(quantized(tmp_path / "good.onnx"), cameras=2)
    assert check, str(check)
    assert check.count("Conv") == {"int8": 1}
    assert check_rules(tmp_path / "good.onnx")


def test_fp8_needs_ada(tmp_path: Path) -> None:
    path = fp8(tmp_path / "fp8.onnx")
    assert "HW-specific datatypes: fp8" in check_engine(path, targets=("SM86",)).failure
    assert check_engine(path, targets=("SM89", "SM120")).count("MatMul") == {"fp8": 1}


def test_fp32_convolutions_in_3d_need_more_than_turing(tmp_path: Path) -> None:
    weights = np.zeros((8, 8, 3, 3, 3), np.float32)
    path = save(
        tmp_path / "conv.onnx",
        [h.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1] * 6)],
        {"w": weights},
    )
    assert "SM75" in check_engine(path, targets=("SM75",)).failure
    assert check_engine(path, targets=("SM86",))


def test_no_profile_is_refused(small: Path, tmp_path: Path) -> None:
    request = BuildRequest(
        str(small / "encoder.onnx"),
        str(tmp_path / "plan"),
        (),
        module="tensorrt_rtx",
        targets=("SM86",),
    )
    with pytest.raises(MachineError, match="no optimization profile has been defined"):
        build_plan(request)
    with pytest.raises(MachineError, match=r"encoder\.onnx"):
        build_plan(replace(request, profiles=((2, 1, 1),)))


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", None])
def test_a_damaged_file(small: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes((small / "head.onnx").read_bytes()[:50_000] if content is None else content)
    request = BuildRequest(
        str(path), str(tmp_path / "plan"), profiles_for(1), module="tensorrt_rtx", targets=("SM86",)
    )
    with pytest.raises((UsageError, MachineError), match=r"damaged\.onnx"):
        build_plan(request)
    assert not (tmp_path / "plan").exists()


def test_the_command_checks_a_bundle(small: Path, tmp_path: Path) -> None:
    from gasmcast.files import sha256_of
    from gasmcast.manifest import BundleFile, Manifest
    from gasmcast.spec import ClipSpec

    bundle = tmp_path / "small.gasm"
    bundle.mkdir()
    files = {}
    for graph in ("encoder", "head"):
        path = file_of(small, graph, "int8_fp16")
        (bundle / path.name).write_bytes(path.read_bytes())
        files[path.name] = BundleFile(
            sha256=sha256_of(path), size=path.stat().st_size, graph=graph, precision="int8_fp16"
        )
    manifest = Manifest(
        gasmcast="0",
        created="",
        labels=("a",),
        spec=ClipSpec(),
        model={},
        checkpoint_sha256="",
        files=files,
        precisions={},
    )
    (bundle / "manifest.json").write_text(manifest.model_dump_json())
    result = CliRunner().invoke(app, ["engine", "check", str(bundle), "--cameras", "2", "--json"])
    assert result.exit_code == 0, result.exception
    records = json.loads(result.stdout)
    assert [record["passed"] for record in records] == [True, True]
    assert records[0]["convolutions"]["int8"] > 0


def test_a_log_without_layers_proves_nothing() -> None:
    assert read_layers("") == {}
    assert read_layers("\nLayers:\nsomething else\n\nI/O Tensors:\n") == {}


REAL = os.environ.get("GASMCAST_REAL_SIZE")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_all("ssv2", tmp_path_factory.mktemp("ssv2"))


@pytest.mark.skipif(not REAL, reason="minutes a graph: make test-engines (or GASMCAST_REAL_SIZE=1)")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_real_size(real: Path, graph: str, precision: str) -> None:
    check = check_engine(file_of(real, graph, precision))
    print(check)
    assert check, str(check)
    assert_types(check, precision)
    if precision.startswith("int8") and graph != "head":
        assert len(vit_linears(check)) == 48, "four in each of twelve blocks"
        high = [
            p.node
            for p in check.products
            if p.op == "Conv" and p.got != "int8" and "adapter" not in p.node
        ]
        assert len(high) == 2, high  # the stem and the patch embedding
