"""Fixtures: a bundle with tiny hand-written networks, and generated videos."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from gasmcast.files import sha256_of
from gasmcast.manifest import BundleFile, Manifest, Measured
from gasmcast.spec import ClipSpec

TINY_SPEC = ClipSpec(segments=4, segment_s=0.5, motion_frames=4, semantic_frames=1, pixels=32)
TINY_LABELS = (
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Holding something",
)


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
def moving_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Video of 6.0 s at 30 frames per second."""
    return write_video(tmp_path_factory.mktemp("video") / "moving.mp4", 6.0)


@pytest.fixture(scope="session")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Video of 2.6 s at 30 frames per second: a window of 2.0 s and one hop."""
    return write_video(tmp_path_factory.mktemp("video") / "short.mp4", 2.6)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep compiled engines out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def small_disk(tmp_path: Path):
    """Folder on a tmpfs of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False
        ).returncode
    ):
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
