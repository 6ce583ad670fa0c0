import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from gasmcast.calibration.policy import Policy, block_of, candidates
from gasmcast.calibration.qdq import (
    LARGEST_TOP,
    SAFE_LEVELS,
    fake_quantize,
    insert_qdq,
    quantize_weight,
)
from gasmcast.calibration.quantize import Recipe, collect_ranges, quantize
from gasmcast.export.graphs.rules import check_rules


def run(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]


def test_weights_are_per_channel_symmetric_and_never_scaled_by_zero():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(8, 5)).astype(np.float32) * np.array([1, 10, 100, 1e-3, 0], np.float32)
    q, scales = quantize_weight(w, 1)
    assert q.dtype == np.int8
    assert (scales > 0).all()
    assert np.abs(q).max() <= 127
    np.testing.assert_allclose(q * scales, w, atol=float(np.abs(w).max()) / 120)
    # the small channel keeps its own resolution
    assert np.abs(q[:, 3] * scales[3] - w[:, 3]).max() <= scales[3]


def test_safe_levels_never_overflow_sixteen_bits():
    q, _ = quantize_weight(
        np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32), 1, SAFE_LEVELS
    )
    assert 2 * 255 * int(np.abs(q).max()) <= 32767


def test_scales_are_values_that_fp16_holds():
    _, scales = quantize_weight(
        np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32) * 1e-3, 0
    )
    np.testing.assert_array_equal(scales, scales.astype(np.float16).astype(np.float32))


def test_the_quantized_graph_is_explicit_symmetric_and_close(vit_block, tmp_path):
    model, feeds = vit_block
    quantized = quantize(model, lambda: iter(feeds))
    onnx.checker.check_model(quantized, full_check=True)
    onnx.save(quantized, str(tmp_path / "m.onnx"))
    assert check_rules(tmp_path / "m.onnx")
    stored = {t.name: t for t in quantized.graph.initializer}
    scales = [
        n for n in quantized.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in stored
    ]
    assert scales
    for node in scales:
        assert stored[node.input[0]].data_type == TensorProto.INT8
        assert not numpy_helper.to_array(stored[node.input[2]]).any()
    assert "INT32" not in {TensorProto.DataType.Name(t.data_type) for t in stored.values()}
    exact, given = run(model, feeds[0]["x"]), run(quantized, feeds[0]["x"])
    assert 10 * np.log10((exact**2).mean() / ((exact - given) ** 2).mean()) > 28


def test_what_the_policy_keeps_is_left_alone(vit_block):
    model, feeds = vit_block
    kept = quantize(model, lambda: iter(feeds), policy=Policy().without(["blocks.0"]))
    assert not any(n.op_type == "QuantizeLinear" for n in kept.graph.node)


def test_a_constant_activation_is_not_quantized(vit_block):
    model, _ = vit_block
    found = list(candidates(model.graph))
    out = insert_qdq(model, found, {c.activation: 0.0 for c in found})
    assert not any(n.op_type == "QuantizeLinear" for n in out.graph.node)


def test_one_pair_serves_all_readers_of_a_tensor():
    w = numpy_helper.from_array(np.eye(32, dtype=np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], [y], name=f"{y}/MatMul") for y in ("a", "b")]
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 32]) for n in ("x", "a", "b")
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:], [w]),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    out = insert_qdq(model, list(candidates(model.graph)), {"x": 1.0})
    kinds = [n.op_type for n in out.graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("DequantizeLinear") == 2


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("semantic.vit.blocks.3.mlp.fc1/MatMul", "semantic.vit.blocks.3"),
        ("encoder.motion.net.layer2.0.conv1.0/Conv_2", "encoder.motion.net.layer2.0"),
        ("head.readouts.semantic.classifier/Gemm", "head.readouts"),
    ],
)
def test_blocks_are_found_in_names(name, block):
    assert block_of(name) == block


@pytest.mark.parametrize(
    "part",
    [
        "encoder.graph_semantic.0.qkv",
        "head.readouts.motion.value",
        "encoder.semantic.vit.patch_embed.proj",
    ],
)
def test_ends_and_graph_stay_in_high_precision(part):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name=f"{part}/MatMul")
    w = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 64]) for n in ("x", "y")
    ]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [w])
    found = list(candidates(graph))
    assert found
    assert not Policy().choose(found)


def test_fake_quantize_saturates():
    assert fake_quantize(np.float32([5.0]), 1.0)[0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("smoothing", [True, False])
@pytest.mark.parametrize("place", ["activation", "weight"])
def test_what_does_not_fit_a_scale_of_fp16_stays_in_high_precision(
    vit_block, tmp_path, smoothing, place
):
    """A normalization layer with a variance near 0 gives such values (bugs.md, row 18)."""
    model, feeds = vit_block
    for tensor in model.graph.initializer:
        if tensor.name == ("g2" if place == "activation" else "w2"):
            huge = numpy_helper.to_array(tensor) * np.float32(1e10)
            tensor.CopyFrom(numpy_helper.from_array(huge, tensor.name))

    recipe = Recipe(smoothing=smoothing)
    calibrated = collect_ranges(model, lambda: iter(feeds), recipe, Policy(min_weights=0))
    assert calibrated.too_large
    graph = calibrated.quantize(Policy(min_weights=0), SAFE_LEVELS)
    scales = [
        numpy_helper.to_array(tensor)
        for tensor in graph.graph.initializer
        if tensor.name.endswith(".scale")
    ]
    assert scales, "the other operators are INT8"
    assert all(np.isfinite(scale).all() for scale in scales)
    onnx.save(graph, tmp_path / "g.onnx")
    assert check_rules(tmp_path / "g.onnx")


def test_a_top_that_is_too_large_is_left_alone(vit_block):
    model, _ = vit_block
    chosen = list(candidates(model.graph, 0))
    tops = {candidate.activation: LARGEST_TOP * 1.01 for candidate in chosen}
    quantized = insert_qdq(model, chosen, tops)
    assert not [node for node in quantized.graph.node if node.op_type == "QuantizeLinear"]
    tops = dict.fromkeys(tops, LARGEST_TOP)
    assert [n for n in insert_qdq(model, chosen, tops).graph.node if n.op_type == "QuantizeLinear"]
