import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gasmcast.export.graphs.clean import clean

SCOPES = "pkg.torch.onnx.name_scopes"


def model_that_cuts_pixels():
    bounds = [
        numpy_helper.from_array(np.array([i]), n) for n, i in (("a", 0), ("b", 4), ("axis", 1))
    ]
    nodes = [
        helper.make_node("Slice", ["clip", "a", "b", "axis"], ["cut"], name="n0"),
        helper.make_node("Cast", ["cut"], ["f"], name="n1", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "model.encoder.w"], ["y"], name="n2"),
        helper.make_node("Relu", ["f"], ["unread"], name="n3"),
    ]
    nodes[2].metadata_props.add(key=SCOPES, value="['', 'model.encoder.blocks.0', 'matmul']")
    nodes[2].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File secret.py, line 3")
    clip = helper.make_tensor_value_info("clip", TensorProto.UINT8, ["s0", 8])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["s0", 2])
    w = numpy_helper.from_array(np.ones((4, 2), np.float32), "model.encoder.w")
    return helper.make_model(
        helper.make_graph(nodes, "main_graph", [clip], [out], [*bounds, w]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def test_pixels_are_cast_before_they_are_cut_and_the_result_is_the_same():
    import onnxruntime

    before = model_that_cuts_pixels()
    x = np.random.default_rng(0).integers(0, 256, (3, 8)).astype(np.uint8)
    exact = onnxruntime.InferenceSession(
        before.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"clip": x})[0]
    after = clean(before)
    onnx.checker.check_model(after, full_check=True)
    first = after.graph.node[0]
    assert (first.op_type, list(first.input)) == ("Cast", ["clip"])
    given = onnxruntime.InferenceSession(
        after.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"clip": x})[0]
    np.testing.assert_array_equal(exact, given)


def test_names_say_where_a_node_comes_from_and_nothing_tells_of_the_machine():
    after = clean(model_that_cuts_pixels())
    names = [n.name for n in after.graph.node]
    assert "encoder.blocks.0/MatMul" in names
    assert len(set(names)) == len(names)
    assert b"secret" not in after.SerializeToString()
    assert "encoder.w" in {t.name for t in after.graph.initializer}
    assert after.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
