"""Fixtures that tests of several packages share."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast.data.reading import read_as
from gasmcast.files import sha256_of
from gasmcast.manifest import BundleFile, Manifest, Measured
from gasmcast.no_telemetry import disable_telemetry
from gasmcast.runtime.service import threads
from gasmcast.sleeping_threads import let_threads_sleep
from gasmcast.spec import ClipSpec
from tests.debian import find_missing

# Tests import ONNX Runtime and PyTorch by themselves.
disable_telemetry()
let_threads_sleep()

ROOT = Path(__file__).resolve().parents[1]

TINY_SPEC = ClipSpec(segments=4, segment_s=0.5, motion_frames=4, semantic_frames=1, pixels=32)
TINY_LABELS = (
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Holding something",
)


def pytest_configure() -> None:
    """Fail at the start where tests would be skipped that must run (`GASMCAST_NEED_DEBIAN`)."""
    if os.environ.get("GASMCAST_NEED_DEBIAN") and (missing := find_missing()):
        raise pytest.UsageError(
            f"GASMCAST_NEED_DEBIAN is set, and {', '.join(missing)} is not installed (make debian)."
        )


@pytest.fixture(autouse=True)
def no_sudden_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test in which the command line would end the process past a hung thread.

    That would be the end of the tests, and the cause of it would stay unknown.
    """

    def fail(status: int) -> None:
        pytest.fail(f"the process would have ended with status {status}")

    monkeypatch.setattr(threads, "exit_now", fail)


@pytest.fixture(autouse=True)
def default_read_options() -> Iterator[None]:
    """Read data sets as without options, whatever a verb of an earlier test was given."""
    yield
    read_as()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real clips; skip the test if there is none."""
    folder = Path(os.environ.get("GASMCAST_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real clips at {folder} (set GASMCAST_REAL_DATA)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep compiled engines out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def fake():
    """Import `fake_run.py`: clips in memory, a tiny configuration, a script for other processes."""
    spec = importlib.util.spec_from_file_location(
        "fake_run", ROOT / "tests" / "laws" / "fake_run.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dead_workers():
    """Collect the loader of a test whose data workers die.

    Until then PyTorch raises an error wherever the process is, also in pytest.
    """
    yield
    gc.collect()


@pytest.fixture
def one_thread():
    """Use one thread: bit-identity on the CPU needs sums in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def vit_block_with():
    """Make a transformer block as ONNX, `x (B, 6, 32) -> y`, with eight feeds.

    `outlier` scales a few residual channels.
    """
    onnx = pytest.importorskip("onnx")
    helper, arrays = onnx.helper, onnx.numpy_helper

    def make(outlier: float = 1.0):
        rng = np.random.default_rng(0)
        d, inner = 32, 64
        weights = {
            "w1": rng.normal(size=(d, d)) / d**0.5,
            "b1": rng.normal(size=d) * 0.1,
            "w2": rng.normal(size=(d, inner)) / d**0.5,
            "b2": rng.normal(size=inner) * 0.1,
            "w3": rng.normal(size=(inner, d)) / inner**0.5,
            "g1": np.ones(d),
            "h1": np.zeros(d),
            "g2": np.ones(d),
            "h2": np.zeros(d),
            "scale": np.array(d**-0.5),
        }
        node = helper.make_node
        nodes = [
            node(
                "LayerNormalization",
                ["x", "g1", "h1"],
                ["n1"],
                name="blocks.0.norm1/LayerNormalization",
                axis=-1,
                epsilon=1e-6,
            ),
            node("MatMul", ["n1", "w1"], ["v"], name="blocks.0.attn.v/MatMul"),
            node("Add", ["v", "b1"], ["vb"], name="blocks.0.attn.v/Add"),
            node("Transpose", ["n1"], ["nt"], name="blocks.0.attn/Transpose", perm=[0, 2, 1]),
            node("MatMul", ["vb", "nt"], ["s"], name="blocks.0.attn/MatMul"),
            node("Mul", ["s", "scale"], ["ss"], name="blocks.0.attn/Mul"),
            node("Softmax", ["ss"], ["p"], name="blocks.0.attn/Softmax", axis=-1),
            node("MatMul", ["p", "vb"], ["o"], name="blocks.0.attn/MatMul_2"),
            node("Add", ["x", "o"], ["r"], name="blocks.0/Add"),
            node(
                "LayerNormalization",
                ["r", "g2", "h2"],
                ["n2"],
                name="blocks.0.norm2/LayerNormalization",
                axis=-1,
                epsilon=1e-6,
            ),
            node("MatMul", ["n2", "w2"], ["f"], name="blocks.0.mlp.fc1/MatMul"),
            node("Add", ["f", "b2"], ["fb"], name="blocks.0.mlp.fc1/Add"),
            node("Gelu", ["fb"], ["e"], name="blocks.0.mlp.act/Gelu"),
            node("MatMul", ["e", "w3"], ["m"], name="blocks.0.mlp.fc2/MatMul"),
            node("Add", ["m", "o"], ["y"], name="blocks.0/Add_2"),
        ]
        # Only the linear layer reads the norm then, and large channels meet small weights, as in a
        # real block.
        if outlier != 1.0:
            for name in ("w1", "w2"):
                weights[name][:2] /= outlier
            nodes[3].input[0] = "x0"
            nodes.insert(3, node("Mul", ["x", "unit"], ["x0"], name="blocks.0.attn/Mul_0"))
            weights["unit"] = np.where(np.arange(d) < 2, 1 / outlier, 1.0)
        ends = [
            helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 6, d])
            for n in ("x", "y")
        ]
        stored = [arrays.from_array(np.asarray(v, np.float32), k) for k, v in weights.items()]
        graph = helper.make_graph(nodes, "block", ends[:1], ends[1:], stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        gain = np.where(np.arange(d) < 2, outlier, 1.0)
        feeds = [{"x": (rng.normal(size=(2, 6, d)) * gain).astype(np.float32)} for _ in range(8)]
        return model, feeds

    return make


@pytest.fixture
def vit_block(vit_block_with):
    """Make the block without outliers."""
    return vit_block_with()


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory):
    """Trace a tiny model, once a session: `(model, config, {graph: path of its FP32 graph})`."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from gasmcast.config import Config, ModelConfig
    from gasmcast.export.graphs.trace import export_onnx
    from gasmcast.models.model import GasmCast
    from gasmcast.spec import ClipSpec

    torch.manual_seed(0)
    spec = ClipSpec(segments=2, motion_frames=2, semantic_frames=1, pixels=64)
    model = ModelConfig(
        classes=3,
        semantic_backbone="tiny",
        semantic_weights="random",
        semantic_taps=(2,),
        motion_backbone="tiny",
        motion_weights="random",
        motion_taps=("layer3",),
        freeze=False,
        width=32,
        layers=1,
        heads=2,
        k=4,
        temporal_adapter=8,
    )
    config = Config(spec=spec, model=model)
    net = GasmCast(model, spec).eval()
    # Branches that start at zero would hide their defects.
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net, config, export_onnx(net, tmp_path_factory.mktemp("graphs"))


@pytest.fixture
def tiny_run(tiny_export, tiny_set, tmp_path):
    """Return a run folder with the checkpoint of the tiny model."""
    from gasmcast.data.annotations import read_labels
    from gasmcast.models.checkpoint import frozen_names, write_checkpoint, write_frozen

    model, config, _ = tiny_export
    folder = tmp_path / "run"
    folder.mkdir()
    frozen = frozen_names(model)
    trained = {name: value for name, value in model.state_dict().items() if name not in frozen}
    write_checkpoint(
        folder / "best.safetensors",
        trained,
        config,
        read_labels(tiny_set),
        frozen=write_frozen(folder, model),
        info={},
    )
    return folder


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """Write a set of three classes in SSv2's format, 18 videos for training, 12 for validation."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "videos").mkdir()
    names = [
        "Pushing [something] from left to right",
        "Holding [something]",
        "Moving [something] up",
    ]
    rows = {"train": [], "validation": []}
    for number in range(30):
        kind, split = number % 3, "train" if number < 18 else "validation"
        rng = np.random.default_rng(number)
        writer = cv2.VideoWriter(
            str(folder / "videos" / f"{number}.mp4"),
            cv2.VideoWriter.fourcc(*"mp4v"),
            12.0,
            (80, 64),
        )
        ground = rng.integers(40, 120, (64, 80, 3)).astype(np.uint8)
        for t in range(16):
            frame = ground.copy()
            y, x = 20 + (-t if kind == 2 else 0), 20 + (2 * t if kind == 0 else 0)
            frame[max(y, 0) : y + 16, x : x + 16] = rng.integers(180, 255)
            writer.write(frame)
        writer.release()
        rows[split].append(
            {"id": str(number), "template": names[kind], "label": names[kind], "placeholders": []}
        )
    (folder / "labels.json").write_text(
        json.dumps({n.replace("[", "").replace("]", ""): str(i) for i, n in enumerate(names)})
    )
    for split, entries in rows.items():
        (folder / f"{split}.json").write_text(json.dumps(entries))
    return folder


def write_tiny_bundle(
    folder: Path, spec: ClipSpec = TINY_SPEC, width: int = 8, layers: int = 2
) -> Path:
    """Write a bundle of the right shapes.

    The encoder averages colors with fixed weights; the head is one linear layer.
    """
    import onnx
    from onnx import TensorProto as T
    from onnx import helper as h
    from onnx import numpy_helper

    rng = np.random.default_rng(0)
    frames, half, classes = spec.motion_frames, spec.pixels // 16, len(TINY_LABELS)
    patches, cells = half * half, (half // 2) ** 2
    folder.mkdir(parents=True, exist_ok=True)

    def constant(name, value):
        return numpy_helper.from_array(np.asarray(value), name)

    def save(name, nodes, inputs, outputs, constants):
        graph = h.make_graph(nodes, name, inputs, outputs, constants)
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model)
        onnx.save(model, folder / f"{name}.onnx")

    sides = ("semantic", 1, patches), ("motion", 0, cells)
    nodes = [
        h.make_node("Cast", ["segments"], ["float"], to=T.FLOAT),
        h.make_node("ReduceMean", ["float", "space"], ["color"], keepdims=0),  # (B, 2, F, 3)
        h.make_node("Reshape", ["color", "flat"], ["vector"]),  # (B, 2 * F * 3)
    ]
    constants = [constant("space", np.array([3, 4])), constant("flat", np.array([0, 6 * frames]))]
    outputs = []
    for name, with_frames, places in sides:
        shape = (
            [layers, spec.semantic_frames, places, width]
            if with_frames
            else [layers, places, width]
        )
        constants += [
            constant(
                f"w_{name}",
                rng.normal(0, 0.02, (6 * frames, int(np.prod(shape)))).astype(np.float32),
            ),
            constant(f"s_{name}", np.array([0, *shape])),
        ]
        nodes += [
            h.make_node("MatMul", ["vector", f"w_{name}"], [f"flat_{name}"]),
            h.make_node("Reshape", [f"flat_{name}", f"s_{name}"], [name]),
        ]
        outputs.append(h.make_tensor_value_info(name, T.FLOAT, ["B", *shape]))
    segments = h.make_tensor_value_info("segments", T.UINT8, ["B", *spec.pair_shape])
    save("encoder", nodes, [segments], outputs, constants)

    nodes, constants, inputs, parts = [], [], [], []
    for name, with_frames, places in sides:
        shape = [
            spec.segments,
            layers,
            *([spec.semantic_frames] if with_frames else []),
            places,
            width,
        ]
        size = int(np.prod(shape))
        inputs.append(h.make_tensor_value_info(name, T.FLOAT, ["B", *shape]))
        constants += [
            constant(f"f_{name}", np.array([0, size])),
            constant(f"w_{name}", rng.normal(0, 0.05, (size, classes)).astype("f4")),
        ]
        nodes += [
            h.make_node("Reshape", [name, f"f_{name}"], [f"v_{name}"]),
            h.make_node("MatMul", [f"v_{name}", f"w_{name}"], [f"l_{name}"]),
        ]
        parts.append(f"l_{name}")
    nodes.append(h.make_node("Add", parts, ["logits"]))
    save(
        "head",
        nodes,
        inputs,
        [h.make_tensor_value_info("logits", T.FLOAT, ["B", classes])],
        constants,
    )

    files = {
        f"{g}.onnx": BundleFile(
            sha256=sha256_of(folder / f"{g}.onnx"),
            size=(folder / f"{g}.onnx").stat().st_size,
            graph=g,
            precision="fp32",
        )
        for g in ("encoder", "head")
    }
    manifest = Manifest(
        gasmcast="0",
        created="2026-01-01T00:00:00Z",
        labels=TINY_LABELS,
        spec=spec,
        model={},
        checkpoint_sha256="0" * 64,
        files=files,
        precisions={"fp32": Measured(clips=0, temperature=1.0, no_action=None)},
    )
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json")))
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "tiny.gasm")


def write_video(
    path: Path, seconds: float, fps: float = 30.0, size: tuple[int, int] = (96, 64), seed: int = 0
) -> Path:
    """Write a file in which a bright square moves over a noisy ground; every frame differs."""

    rng = np.random.default_rng(seed)
    width, height = size
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
    assert writer.isOpened()
    count = round(seconds * fps)
    for i in range(count):
        frame = rng.integers(0, 60, (height, width, 3), np.uint8)
        x = int((width - 16) * i / max(count - 1, 1))
        frame[16:32, x : x + 16] = (i * 7 % 256, 200, 255 - i * 5 % 256)
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="session")
def attention_folder(tiny_export, tmp_path_factory):
    """Write the bundle of a tiny model with its attention twins; return its folder."""
    pytest.importorskip("onnxruntime")
    from gasmcast.export.graphs.attention_twins import write_twins

    model, config, paths = tiny_export
    folder = tmp_path_factory.mktemp("attention") / "tiny.gasm"
    folder.mkdir()
    files = {}
    for name in ("encoder", "head"):
        (folder / f"{name}.onnx").write_bytes(paths[name].read_bytes())
        files[f"{name}.onnx"] = (name, None)
    for twin in write_twins(model, paths, folder):
        files[twin.path.name] = (twin.graph, dict(twin.maps))
    entries = {
        name: BundleFile(
            sha256=sha256_of(folder / name),
            size=(folder / name).stat().st_size,
            graph=graph,
            precision="fp32",
            maps=maps,
        )
        for name, (graph, maps) in files.items()
    }
    manifest = Manifest(
        gasmcast="0",
        created="2026-01-01T00:00:00Z",
        labels=("a", "b", "c"),
        spec=config.spec,
        model=config.model.model_dump(mode="json"),
        checkpoint_sha256="0" * 64,
        files=entries,
        precisions={},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


@pytest.fixture(scope="session")
def moving_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Video of 6.0 s at 30 frames per second."""
    return write_video(tmp_path_factory.mktemp("video") / "moving.mp4", 6.0)


@pytest.fixture(scope="session")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Video of 2.6 s at 30 frames per second: a window of 2.0 s and one hop."""
    return write_video(tmp_path_factory.mktemp("video") / "short.mp4", 2.6)
