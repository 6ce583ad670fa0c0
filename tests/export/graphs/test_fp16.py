import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gasmcast.calibration.quantize import quantize
from gasmcast.errors import UsageError
from gasmcast.export.checks.reference_engines import open_reference
from gasmcast.export.graphs.fp16 import LARGEST, to_fp16
from gasmcast.export.graphs.largest import measure_largest
from gasmcast.export.graphs.rules import check_rules


def typed(model):
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    return {
        v.name: v.type.tensor_type.elem_type
        for v in (*inferred.graph.value_info, *inferred.graph.output)
    }


def snr(path, model, half, feed):
    onnx.save(model, str(path / "a.onnx"))
    onnx.save(half, str(path / "b.onnx"))
    assert check_rules(path / "b.onnx")
    a, b = (open_reference(path / f"{n}.onnx", 1).run(feed)["y"] for n in "ab")
    return 10 * np.log10((a**2).mean() / max(((a - b) ** 2).mean(), 1e-20))


def test_products_are_half_norms_and_softmax_are_not(vit_block, tmp_path):
    model, feeds = vit_block
    half = to_fp16(model, measure_largest(model, feeds))
    types = typed(half)
    assert (types["v"], types["f"]) == (TensorProto.FLOAT16, TensorProto.FLOAT16)
    assert (types["n1"], types["p"]) == (TensorProto.FLOAT, TensorProto.FLOAT)
    assert [v.type.tensor_type.elem_type for v in (*half.graph.input, *half.graph.output)] == [
        TensorProto.FLOAT
    ] * 2
    assert snr(tmp_path, model, half, feeds[0]) > 55


def test_int8_with_an_fp16_rest(vit_block, tmp_path):
    model, feeds = vit_block
    half = to_fp16(quantize(model, lambda: iter(feeds)), measure_largest(model, feeds))
    types = typed(half)
    assert types["v"] == TensorProto.FLOAT16
    assert any(n.op_type == "QuantizeLinear" for n in half.graph.node)
    assert snr(tmp_path, model, half, feeds[0]) > 28


def test_values_that_are_not_numbers_are_refused(vit_block):
    model, feeds = vit_block
    spoilt = [{name: np.full_like(value, np.nan) for name, value in feeds[0].items()}]
    with pytest.raises(UsageError, match="not numbers"):
        measure_largest(model, spoilt)


def test_what_is_too_large_stays(vit_block):
    model, feeds = vit_block
    largest = measure_largest(model, feeds) | {"f": LARGEST * 2}
    assert typed(to_fp16(model, largest))["f"] == TensorProto.FLOAT


@pytest.mark.parametrize("value", [1e6, 1e-9])
def test_a_constant_that_fp16_cannot_hold_stays(value):
    w = numpy_helper.from_array(np.full((4, 4), value, np.float32), "w")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in ("x", "y")]
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m/MatMul")],
        "g",
        ends[:1],
        ends[1:],
        [w],
    )
    half = to_fp16(
        helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    )
    assert half.graph.initializer[0].data_type == TensorProto.FLOAT


def test_pixels_are_normalized_in_fp32():
    constants = [
        numpy_helper.from_array(np.float32(v), n) for n, v in (("mean", 0.4), ("unit", 255.0))
    ]
    w = numpy_helper.from_array(np.ones((8, 2), np.float32), "w")
    nodes = [
        helper.make_node("Cast", ["clip"], ["f"], name="p/Cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["f", "unit"], ["d"], name="p/Div"),
        helper.make_node("Sub", ["d", "mean"], ["s"], name="p/Sub"),
        helper.make_node("MatMul", ["s", "w"], ["y"], name="p/MatMul"),
    ]
    clip = helper.make_tensor_value_info("clip", TensorProto.UINT8, ["batch", 8])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [clip], [out], [*constants, w]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    half = to_fp16(model)
    types = typed(half)
    assert types["s"] == TensorProto.FLOAT
    assert types["y"] == TensorProto.FLOAT
    assert {t.name: t.data_type for t in half.graph.initializer}["w.fp16"] == TensorProto.FLOAT16
