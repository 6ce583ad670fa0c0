import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from gasmcast.calibration.policy import Policy
from gasmcast.calibration.quantize import Recipe, collect_ranges
from gasmcast.calibration.tensor_stats import ROWS, TensorStats

LEVELS = 7  # so coarse that the shift is plain to see


def outputs(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]


def layer(kind, *, bias):
    """One operator, and what it reads: not centered, as after ReLU."""
    rng = np.random.default_rng(0)
    shape = [32, 6, 4, 9, 9] if kind == "Conv" else [32, 24]
    weight = {"MatMul": (24, 8), "Gemm": (8, 24), "Conv": (8, 6, 1, 3, 3)}[kind]
    name = f"blocks.0.fc/{kind}"
    inputs = ["x", "w", *(["b"] if bias and kind != "MatMul" else [])]
    extra = {"Gemm": {"transB": 1}, "Conv": {"pads": [0] * 6}}.get(kind, {})
    plain = bias and kind == "MatMul"
    nodes = [helper.make_node(kind, inputs, ["product" if plain else "y"], name=name, **extra)]
    if plain:
        nodes.append(helper.make_node("Add", ["b", "product"], ["y"], name="blocks.0.fc/Add"))
    stored = {"w": rng.normal(size=weight), **({"b": rng.normal(size=8)} if bias else {})}
    given = [32, 8, 4, 7, 7] if kind == "Conv" else [32, 8]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, dims)
        for n, dims in (("x", shape), ("y", given))
    ]
    held = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in stored.items()]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    feeds = [
        {"x": np.maximum(rng.normal(size=shape) + 0.5, 0).astype(np.float32)} for _ in range(12)
    ]
    return model, feeds


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "Conv"])
def test_the_mean_of_a_quantized_layer_comes_back_on_feeds_it_did_not_see(kind, bias):
    model, feeds = layer(kind, bias=bias)
    seen, unseen = feeds[:8], feeds[8:]
    shifts = {}
    for corrected in (False, True):
        recipe = Recipe(bias_correction=corrected)
        graph = collect_ranges(
            model, lambda: iter(seen), recipe, Policy(min_weights=1), threads=1
        ).quantize(Policy(min_weights=1), LEVELS)
        onnx.checker.check_model(graph, full_check=True)
        assert {t.name for t in graph.graph.initializer} <= {
            n for node in graph.graph.node for n in node.input
        }  # the old bias went
        off = np.mean([outputs(graph, f["x"]) - outputs(model, f["x"]) for f in unseen], axis=0)
        shifts[corrected] = float(np.abs(off.mean(axis=(0, *range(2, off.ndim)))).mean())
    assert shifts[True] < 0.35 * shifts[False], shifts


def test_a_bias_that_others_share_is_not_touched(vit_block):
    model, feeds = vit_block
    graph = collect_ranges(model, lambda: iter(feeds), threads=1).quantize(Policy())
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
    for name in {"b1", "b2"} & set(after):
        np.testing.assert_array_equal(after[name], before[name])
    assert len([n for n in after if n.endswith(".corrected")]) == 3


def test_sample_rows_come_from_all_runs_and_do_not_pile_up():
    stats = TensorStats("t", 1, rows=32)
    for run in range(300):
        stats.update(np.full((1, 3, 4, 5), run, np.float32))
    rows = np.concatenate(stats.rows)
    assert rows.shape[1] == 3
    assert ROWS // 4 <= len(rows) <= ROWS
    assert abs(rows.mean() - 150) < 40
