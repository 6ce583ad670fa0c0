"""All engines of a bundle: files for TensorRT, machines without a GPU, comparison with the CPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.errors import GateError, MachineError, UsageError
from gasmcast.files import sha256_of
from gasmcast.runtime import engine_build as device
from gasmcast.runtime.engine_build import (
    build_engines,
    compare_engines,
    require_tensorrt,
)
from gasmcast.runtime.engines import open_engine
from gasmcast.video.noise import drifting_noise

pytest.importorskip("onnxruntime", reason="the CPU's side of the comparison")


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with copies of its graphs under the names of other precisions."""
    folder = tmp_path / "many.gasm"
    shutil.copytree(tiny_bundle, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for precision in ("fp16", "int8", "int8_fp16"):
        for graph in ("encoder", "head"):
            file = folder / f"{graph}.{precision}.onnx"
            shutil.copy(folder / f"{graph}.onnx", file)
            manifest["files"][file.name] = {
                "sha256": sha256_of(file),
                "size": file.stat().st_size,
                "graph": graph,
                "precision": precision,
            }
    path.write_text(json.dumps(manifest))
    return folder


def test_every_graph_and_precision_for_tensorrt_is_built(machine, bundle: Path) -> None:
    done = build_engines(bundle, cameras=2, compare=False)
    names = [
        f"{graph}{ending}.onnx"
        for ending in ("", ".fp16", ".int8_fp16")
        for graph in ("encoder", "head")
    ]
    assert [record.file for record in done] == names  # not INT8 with an FP32 rest
    assert all(record.built_s == 1.5 and Path(record.path).is_file() for record in done)
    assert all(request.profiles == ((1, 1, 1), (2, 2, 2)) for request in machine.built)
    again = build_engines(bundle, cameras=2, compare=False)
    assert all(record.built_s is None for record in again)
    assert "from the cache" in str(again[0])
    assert not list(bundle.glob("*.plan"))  # a bundle is data only
    build_engines(bundle, cameras=2, precisions=("fp16",), force=True, compare=False)
    assert len(machine.built) == 8


def test_workspace_reaches_the_builder(machine, bundle: Path) -> None:
    build_engines(
        bundle,
        cameras=1,
        precisions=("fp16",),
        graphs=("head",),
        workspace=512 << 20,
        compare=False,
    )
    build_engines(bundle, cameras=2, precisions=("fp16",), graphs=("head",), compare=False)
    assert [request.workspace for request in machine.built] == [512 << 20, 2 << 30]


@pytest.mark.parametrize(
    ("precision", "message"),
    [("int8", "TensorRT takes no 'int8'"), ("bf16", "TensorRT takes no 'bf16'")],
)
def test_precisions_that_tensorrt_does_not_take(
    machine, bundle: Path, precision: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_engines(bundle, cameras=1, precisions=(precision,))


def test_a_precision_that_the_bundle_lacks(machine, tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="has no fp16"):
        build_engines(tiny_bundle, cameras=1, precisions=("fp16",))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)


def test_a_machine_without_a_gpu_is_told_everything_at_once(no_gpu, tiny_bundle: Path) -> None:
    with pytest.raises(MachineError) as caught:
        build_engines(tiny_bundle, cameras=1)
    text = str(caught.value)
    assert "The package tensorrt is missing; The package cuda-bindings is missing" in text
    assert (
        f"The ONNX files in {tiny_bundle} are ready: "
        f"on the device, run `gasmcast engine build {tiny_bundle}`" in text
    )
    assert "pip install" in text
    with pytest.raises(MachineError):
        require_tensorrt()


def test_the_command_without_a_gpu_exits_3_and_leaves_the_bundle(no_gpu, tiny_bundle: Path) -> None:
    before = {path.name: sha256_of(path) for path in tiny_bundle.iterdir()}
    result = CliRunner().invoke(app, ["engine", "build", str(tiny_bundle)])
    assert isinstance(result.exception, MachineError)
    assert result.exception.exit_code == 3
    assert {path.name: sha256_of(path) for path in tiny_bundle.iterdir()} == before


class Noise:
    """An engine whose FP16 overflowed."""

    def __init__(self, like, value: float | None = None) -> None:
        self.like, self.value = like, value
        self.inputs, self.outputs = like.inputs, like.outputs

    def run(self, feeds):
        rng = np.random.default_rng(0)
        return {
            name: rng.normal(size=v.shape) if self.value is None else v * self.value
            for name, v in self.like.run(feeds).items()
        }

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("value", "exit_code"), [(1.0, 0), (None, 4), (float("nan"), 4)])
def test_engines_are_compared_with_the_cpu(
    machine, bundle: Path, monkeypatch: pytest.MonkeyPatch, value, exit_code: int
) -> None:
    monkeypatch.setattr(
        device,
        "compile_graph",
        lambda path, *_, **__: Noise(open_engine(path, "onnxruntime"), value),
    )
    result = CliRunner().invoke(
        app, ["engine", "build", str(bundle), "--precision", "fp16", "--cameras", "1"]
    )
    if exit_code:
        assert isinstance(result.exception, GateError)
        assert "FAIL encoder.fp16.onnx" in result.output
    else:
        assert result.exit_code == 0, result.exception
        assert "cosine with the CPU 1.00000" in result.output
        assert "Next: gasmcast live" in result.output


def test_json(machine, bundle: Path) -> None:
    result = CliRunner().invoke(
        app, ["engine", "build", str(bundle), "--no-compare", "--json", "--precision", "fp16"]
    )
    records = json.loads(result.stdout)
    assert [(r["file"], r["passed"]) for r in records] == [
        ("encoder.fp16.onnx", True),
        ("head.fp16.onnx", True),
    ]
    listed = json.loads(CliRunner().invoke(app, ["engine", "list", "--json"]).stdout)
    assert {(entry["graph"], entry["device"]) for entry in listed} == {
        ("encoder", "Fake RTX"),
        ("head", "Fake RTX"),
    }
    assert "2 engines in" in CliRunner().invoke(app, ["engine", "list"]).stdout
    assert "Removed" in CliRunner().invoke(app, ["engine", "clear"]).stdout
    assert "0 engines in" in CliRunner().invoke(app, ["engine", "list"]).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bild"], "No such command 'bild'"),
        (["build"], "Missing argument"),
        (["check"], "Missing argument"),
        (["build", "m.gasm", "--precision", "int8"], "'int8' is not one of"),
    ],
)
def test_wrong_words(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["engine", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_the_engines_of_one_bundle_are_cleared(machine, bundle: Path, tmp_path: Path) -> None:
    """Another bundle with the same head shares its engines, and has none of this encoder."""
    build_engines(bundle, cameras=1, precisions=("fp32", "fp16"), compare=False)
    listed = json.loads(CliRunner().invoke(app, ["engine", "list", "--json"]).stdout)
    assert len(listed) == 4
    assert all(0 <= entry["age_s"] < 600 for entry in listed)
    other = shutil.copytree(bundle, tmp_path / "other.gasm")
    for encoder in other.glob("encoder*.onnx"):
        encoder.write_bytes(encoder.read_bytes() + b"\0")
    result = CliRunner().invoke(app, ["engine", "clear", str(other)])
    assert "Removed" in result.stdout
    assert "2 engines in" in CliRunner().invoke(app, ["engine", "list"]).stdout
    CliRunner().invoke(app, ["engine", "clear", str(bundle)])
    assert "0 engines in" in CliRunner().invoke(app, ["engine", "list"]).stdout


def test_made_up_pixels_are_coarse_and_the_same_each_time() -> None:
    pairs = drifting_noise(2, (2, 4, 32, 32, 3))
    assert pairs.shape == (2, 2, 4, 32, 32, 3)
    assert pairs.dtype == np.uint8
    np.testing.assert_array_equal(pairs, drifting_noise(2, (2, 4, 32, 32, 3)))
    rough = np.abs(np.diff(pairs.astype(float), axis=3)).mean()
    assert (
        rough
        < 0.6
        * np.abs(
            np.diff(np.random.default_rng(0).integers(0, 255, pairs.shape).astype(float), axis=3)
        ).mean()
    )


def test_cosine_of_nothing(tiny_bundle: Path) -> None:
    engine = open_engine(tiny_bundle / "encoder.onnx", "onnxruntime")
    feeds = {"segments": drifting_noise(1, engine.inputs["segments"].shape[1:])}
    assert compare_engines(engine, engine, feeds) == pytest.approx(1)
    assert compare_engines(Noise(engine, 0.0), engine, feeds) == 0
    assert compare_engines(Noise(engine, 0.0), Noise(engine, 0.0), feeds) == 1
