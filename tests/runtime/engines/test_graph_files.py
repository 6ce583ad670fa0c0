"""What is loaded is what was hashed; external data, loops and inflating constants are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.errors import MachineError, UsageError
from gasmcast.files import sha256_of
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines import graph_files, open_engine
from gasmcast.runtime.engines.graph_files import copy_verified, verified_graph
from gasmcast.runtime.engines.onnx_scan import scan_graph
from gasmcast.runtime.streaming_model import open_model
from gasmcast.spec import ClipSpec

onnx = pytest.importorskip("onnx")
BACKENDS = ["onnxruntime", "openvino"]
FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture
def bundle(tiny_bundle, tmp_path, monkeypatch):
    """Return a copy of the tiny bundle, and use a fresh cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(tiny_bundle, tmp_path / "m.gasm")


def scaled(path, factor):
    """Multiply the weights of a graph, as somebody who swaps it would."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT:
            values = onnx.numpy_helper.to_array(tensor) * factor
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return model.SerializeToString()


def save(path, nodes, constants=(), size=4, opset=20):
    helper = onnx.helper
    ends = [helper.make_tensor_value_info(n, FLOAT, ["batch", size]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def constant(value, name):
    return onnx.numpy_helper.from_array(np.asarray(value), name)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_copy_is_read_once(bundle, in_memory, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(graph_files, "_memory_file", lambda _: None)
    path = bundle / "head.onnx"
    digest = sha256_of(path)
    with verified_graph(path, digest) as copy:
        path.write_bytes(b"swapped after the check")
        source = copy.source
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
    assert sha256_of(path) != digest == copy.sha256
    assert len(content) == copy.size


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_that_was_swapped_after_the_check_is_refused(bundle, backend):
    opened = Bundle.open(bundle)
    (bundle / "head.onnx").write_bytes(scaled(bundle / "head.onnx", 2.0))
    with pytest.raises(UsageError, match=r"head\.onnx is not the file that was exported"):
        opened.engine("head", "fp32", backend)


def test_a_hung_stage_is_not_reopened_with_a_swapped_graph(bundle):
    model, _ = open_model(bundle, "openvino")
    (bundle / "encoder.onnx").write_bytes(scaled(bundle / "encoder.onnx", 2.0))
    with pytest.raises(UsageError, match="checksum"):
        model.reopen()


def test_a_swapped_graph_leaves_nothing_under_the_digest_of_the_good_one(bundle):
    path = bundle / "head.onnx"
    good, digest = path.read_bytes(), sha256_of(path)
    spec = open_engine(path, "openvino", 1).inputs
    feeds = {name: np.ones((1, *port.shape[1:]), np.float32) for name, port in spec.items()}
    want = open_engine(path, "openvino", 1, digest).run(feeds)["logits"]

    path.write_bytes(scaled(path, 3.0))
    with pytest.raises(UsageError, match="checksum"):
        open_engine(path, "openvino", 1, digest)
    path.write_bytes(good)
    got = open_engine(path, "openvino", 1, digest).run(feeds)["logits"]
    np.testing.assert_array_equal(got, want)


def external(bundle, location):
    """Store the weights of the head in a second file."""
    path = bundle / "head.onnx"
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=64)
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_beside_a_graph_must_be_listed(bundle, backend):
    path = external(bundle, "head.onnx.data")
    digest, weights = sha256_of(path), sha256_of(bundle / "head.onnx.data")
    assert open_engine(path, backend, 1).outputs, "a graph of the machine's own"
    assert open_engine(path, backend, 1, digest, weights_sha256=weights).outputs
    with pytest.raises(UsageError, match=r"reads weights from head\.onnx\.data, which the bundle"):
        open_engine(path, backend, 1, digest)
    with pytest.raises(UsageError, match=r"head\.onnx\.data is not the file that was exported"):
        open_engine(path, backend, 1, digest, weights_sha256=digest)
    (bundle / "head.onnx.data").unlink()
    with pytest.raises(UsageError, match="lacks its weights"):
        open_engine(path, backend, 1, digest, weights_sha256=weights)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_of_another_name_are_refused(bundle, backend):
    path = external(bundle, "weights.bin")
    with pytest.raises(UsageError, match=r"from 'weights\.bin', and only head\.onnx\.data"):
        open_engine(path, backend, 1)


def test_a_build_reads_a_copy_of_both_files(bundle, tmp_path):
    path = external(bundle, "head.onnx.data")
    folder = tmp_path / "build"
    folder.mkdir()
    copy, digest = copy_verified(path, folder)
    assert copy.parent == folder
    assert (folder / "head.onnx.data").is_file()
    assert digest == graph_files.graph_sha256(path)


def test_a_head_in_the_place_of_the_encoder_is_one_sentence(bundle):
    opened = Bundle.open(bundle)
    files = dict(opened.manifest.files)
    for name, graph in (("encoder.onnx", "head"), ("head.onnx", "encoder")):
        files[name] = files[name].model_copy(update={"graph": graph})
    swapped = Bundle(bundle, opened.manifest.model_copy(update={"files": files}))
    for graph in ("encoder", "head"):
        with pytest.raises(UsageError, match=r"takes no 'segments' of shape|gives no logits"):
            swapped.engine(graph, "fp32", "openvino")


def test_a_spec_that_is_not_that_of_the_graphs_is_one_sentence(bundle):
    opened = Bundle.open(bundle)
    spec = ClipSpec(**{**opened.manifest.spec.model_dump(), "pixels": 64})
    other = Bundle(bundle, opened.manifest.model_copy(update={"spec": spec}))
    with pytest.raises(UsageError, match=r"takes no 'segments' of shape \(B, 2, 4, 64, 64, 3\)"):
        other.engine("encoder", "fp32", "openvino")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["ConstantOfShape", "Expand", "Tile", "Constant"])
def test_a_constant_that_would_fill_the_memory_is_refused(tmp_path, kind, backend):
    node = onnx.helper.make_node
    sizes = constant([2_000_000_000, 4], "sizes")
    nodes = {
        "ConstantOfShape": [node("ConstantOfShape", ["sizes"], ["c"])],
        "Expand": [node("Expand", ["x", "sizes"], ["c"])],
        "Tile": [node("Tile", ["x", "sizes"], ["c"])],
        "Constant": [
            node("Constant", [], ["s"], value=constant([2_000_000_000, 4], "value")),
            node("ConstantOfShape", ["s"], ["c"]),
        ],
    }[kind]
    last = node("ReduceMean", ["c"], ["y"], keepdims=1)
    path = save(tmp_path / "bomb.onnx", [*nodes, last], [sizes])
    with pytest.raises(UsageError, match=r"makes 8\.0e\+09 values by"):
        open_engine(path, backend, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loop_is_refused(tmp_path, backend):
    helper = onnx.helper
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("d", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["", "go", "x"], ["y"], body=body)
    path = save(tmp_path / "loop.onnx", [node], [constant(True, "go")])
    with pytest.raises(UsageError, match="contains Loop, which may run without end"):
        open_engine(path, backend, 1)


def test_a_tensor_that_says_more_than_it_stores_is_refused(tmp_path):
    tensor = constant(np.ones(4, np.float32), "w")
    tensor.dims[:] = [1 << 40]
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    path = save(tmp_path / "bomb.onnx", [node], [tensor])
    with pytest.raises(UsageError, match="tensor 'w' whose shape says more than it stores"):
        open_engine(path, "openvino", 1)


@given(content=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_file_gives_a_traceback(content):
    sentence = ""
    try:
        scan_graph(memoryview(content), "x.onnx")
    except UsageError as error:
        sentence = str(error)
    assert not sentence or sentence.startswith(("gasmcast cannot read x.onnx", "x.onnx "))


@given(place=st.integers(0, 2000), value=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_damage_of_a_graph_gives_a_traceback(tiny_bundle, place, value, cut):
    content = bytearray((tiny_bundle / "head.onnx").read_bytes())
    at = place % len(content)
    content[at] = value
    sentence = ""
    try:
        scan_graph(memoryview(bytes(content[:at] if cut else content)), "x.onnx")
    except UsageError as error:
        sentence = str(error)
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (RuntimeError("Resource temporarily unavailable"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("can't start new thread"), True),
        (MemoryError(), True),
        (RuntimeError("Check 'shapes' failed at node.cpp:12"), False),
    ],
)
def test_a_shortage_is_not_a_broken_bundle(bundle, monkeypatch, error, temporary):
    from gasmcast.runtime.engines import openvino

    class Starved:
        def read_model(self, _path):
            raise error

    monkeypatch.setattr(openvino, "the_core", Starved)
    with pytest.raises((MachineError, UsageError)) as caught:
        open_engine(bundle / "head.onnx", "openvino", 1)
    assert caught.value.exit_code == (75 if temporary else 2)
    assert ("Nothing is wrong with the bundle" in caught.value.hint) == temporary
