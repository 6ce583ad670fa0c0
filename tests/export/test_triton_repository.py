"""Repositories fit Triton's protobuf schema, and their graphs are those of the bundle."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.manifest import read_manifest

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def schema():
    """Return Triton's schema from its client package, without importing gRPC."""
    spec = importlib.util.find_spec("tritonclient")
    if spec is None:
        pytest.skip("tritonclient is not installed")
    path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    loader = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    return module


def parse(schema, path):
    from google.protobuf import text_format

    return text_format.Parse(path.read_text(), schema.ModelConfig())


def with_precision(bundle, folder, precision):
    """Copy a bundle and add its graphs again in another precision, by name only."""
    copy = folder / "many.gasm"
    shutil.copytree(bundle, copy)
    tree = json.loads((copy / "manifest.json").read_text())
    for graph in ("encoder", "head"):
        shutil.copy(copy / f"{graph}.onnx", copy / f"{graph}.{precision}.onnx")
        entry = tree["files"][f"{graph}.onnx"] | {"precision": precision}
        tree["files"][f"{graph}.{precision}.onnx"] = entry
    (copy / "manifest.json").write_text(json.dumps(tree))
    return copy


TABLE = [
    ("fp32", "onnxruntime", "KIND_CPU"),
    ("int8", "openvino", "KIND_CPU"),
    ("fp16", "onnxruntime", "KIND_GPU"),
    ("int8_fp16", "onnxruntime", "KIND_GPU"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_configurations_fit_the_schema(schema, tiny_bundle, tmp_path, row):
    from gasmcast.export.triton_repository import write_repository

    precision, backend, kind = row
    bundle = tiny_bundle
    if precision != "fp32":
        bundle = with_precision(tiny_bundle, tmp_path, precision)
    out = tmp_path / "models"
    models = write_repository(bundle, out, precision)
    assert [model.backend for model in models] == [backend, backend]

    spec = read_manifest(bundle).spec
    for model in models:
        config = parse(schema, out / model.name / "config.pbtxt")
        assert (config.name, config.backend) == (model.name, backend)
        assert config.max_batch_size == 8
        assert config.HasField("dynamic_batching")
        assert config.dynamic_batching.default_queue_policy.max_queue_size == 64
        (group,) = config.instance_group
        assert schema.ModelInstanceGroup.Kind.Name(group.kind) == kind
        gpu = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert [one.name for one in gpu] == (["tensorrt"] if kind == "KIND_GPU" else [])

        # Inputs and outputs are those of the graph that lies there.
        graph = onnx.load(out / model.name / "1" / "model.onnx").graph
        assert [port.name for port in config.input] == [port.name for port in graph.input]
        assert [port.name for port in config.output] == [port.name for port in graph.output]
        assert sha256_of(out / model.name / "1" / "model.onnx") == sha256_of(bundle / model.file)
    encoder = parse(schema, out / f"{bundle.stem}_encoder" / "config.pbtxt")
    assert tuple(encoder.input[0].dims) == spec.pair_shape
    assert schema.DataType.Name(encoder.input[0].data_type) == "TYPE_UINT8"
    assert (out / "openvino_model_server.json").exists() == (kind == "KIND_CPU")


def test_openvino_model_server_gets_the_same_folders(tiny_bundle, tmp_path):
    from gasmcast.export.triton_repository import write_repository

    write_repository(tiny_bundle, tmp_path / "models", "fp32")
    tree = json.loads((tmp_path / "models" / "openvino_model_server.json").read_text())
    paths = [entry["config"]["base_path"] for entry in tree["model_config_list"]]
    assert paths == ["/models/tiny_encoder", "/models/tiny_head"]
    for path in paths:
        assert (tmp_path / path.strip("/") / "1" / "model.onnx").is_file()


def test_the_copied_graphs_run_in_onnx_runtime(tiny_bundle, tmp_path):
    import numpy as np

    ort = pytest.importorskip("onnxruntime")
    from gasmcast.export.triton_repository import write_repository

    write_repository(tiny_bundle, tmp_path / "models", "fp32")
    session = ort.InferenceSession(
        str(tmp_path / "models" / "tiny_encoder" / "1" / "model.onnx"),
        providers=["CPUExecutionProvider"],
    )
    shape = (2, *read_manifest(tiny_bundle).spec.pair_shape)
    outputs = session.run(None, {"segments": np.zeros(shape, np.uint8)})
    assert {len(output) for output in outputs} == {2}


def test_what_cannot_be_written_is_refused(tiny_bundle, tmp_path):
    from gasmcast.export.triton_repository import write_repository

    with pytest.raises(UsageError, match="bf16 has no files of its own"):
        write_repository(tiny_bundle, tmp_path / "a", "bf16")
    with pytest.raises(UsageError, match="int8 is not in the bundle"):
        write_repository(tiny_bundle, tmp_path / "a", "int8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(UsageError, match="is not empty"):
        write_repository(tiny_bundle, tmp_path / "full")
