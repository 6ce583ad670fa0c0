import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gasmcast.errors import UsageError
from gasmcast.export.graphs.rules import check_rules


def tensor(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def graph(nodes, constants=(), inputs=None, opset=20, domain=""):
    inputs = inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])
    body = helper.make_graph(nodes, "g", inputs, [out], list(constants))
    return helper.make_model(
        body, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=10
    )


def node(kind, inputs, outputs=("y",), **attributes):
    return helper.make_node(kind, list(inputs), list(outputs), name=f"part/{kind}", **attributes)


def report(model, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    return check_rules(path)


SCALE, ZERO8 = tensor("s", np.float32(0.1)), tensor("z", np.int8(0))
UINT8 = [helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", 8])]
BAD = {
    "opset": graph([node("Relu", ["x"])], opset=21),
    "operators": graph([node("Celu", ["x"])]),
    "attention": graph(
        [helper.make_node("Attention", ["x", "x", "x"], ["y"], name="part/Attention")]
    ),
    "reduce-axes": graph([node("Identity", ["x"], ["a"]), node("ReduceMean", ["x", "a"])]),
    "topk": graph([node("TopK", ["x", "k"], ["y", "i"])]),
    "layer-norm": graph(
        [node("Pow", ["x", "two"], ["sq"]), node("ReduceMean", ["sq", "axes"])],
        [tensor("two", np.float32(2)), tensor("axes", np.array([1]))],
    ),
    "types": graph(
        [
            node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
            node("Cast", ["d"], to=TensorProto.FLOAT),
        ]
    ),
    "uint8": graph(
        [node("Slice", ["x", "f", "t"], ["c"]), node("Cast", ["c"], to=TensorProto.FLOAT)],
        [tensor("f", np.array([0])), tensor("t", np.array([8]))],
        UINT8,
    ),
    "static-shapes": graph(
        [node("Relu", ["x"])],
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "n"])],
    ),
    "qdq-type": graph(
        [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"])], [SCALE]
    ),
    "qdq-zero-point": graph(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"])],
        [SCALE, tensor("z", np.int8(3))],
    ),
    "qdq-scale": graph(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"])],
        [tensor("s", np.float32(0)), ZERO8],
    ),
    "qdq-bias": graph(
        [node("DequantizeLinear", ["b", "s"], ["bias"]), node("Add", ["x", "bias"])],
        [SCALE, tensor("b", np.zeros(8, np.int32))],
    ),
}


@pytest.mark.parametrize("rule", BAD)
def test_each_rule_names_itself_and_the_place(rule, tmp_path):
    found = report(BAD[rule], tmp_path)
    assert not found
    assert rule in {b.rule for b in found.breaks}, found.breaks
    assert found.breaks[0].where in str(found)
    assert found.to_json()["passed"] is False


def test_a_sound_graph_passes():
    pass_nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("Relu", ["d"]),
    ]
    model = graph(pass_nodes, [SCALE, ZERO8])
    onnx.checker.check_model(model)
    assert model.graph.node[0].op_type == "QuantizeLinear"


def test_a_sound_graph_is_truthy(tmp_path):
    found = report(graph([node("Relu", ["x"])]), tmp_path)
    assert found
    assert "within" in str(found)


@pytest.mark.parametrize("place", ["../elsewhere.bin", "missing.bin"])
def test_external_data_outside_the_bundle_is_refused(place, tmp_path):
    weights = tensor("w", np.ones((8, 8), np.float32))
    model = graph([node("MatMul", ["x", "w"])], [weights])
    stored = model.graph.initializer[0]
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value=place)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = check_rules(tmp_path / "m.onnx")
    assert [b.rule for b in found.breaks] == ["external-data"]
    assert place in str(found)


def test_a_truncated_file_is_a_sentence(tmp_path):
    path = tmp_path / "m.onnx"
    whole = graph(
        [node("MatMul", ["x", "w"])], [tensor("w", np.ones((8, 8), np.float32))]
    ).SerializeToString()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="truncated"):
        check_rules(path)
    with pytest.raises(UsageError, match="no ONNX file"):
        check_rules(tmp_path / "gone.onnx")


def test_a_size_of_zero_is_static(tmp_path):
    """The features of a stream that the model does not have."""
    empty = graph(
        [node("Relu", ["x"])],
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 0])],
    )
    assert report(empty, tmp_path)
