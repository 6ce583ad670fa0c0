"""Files of graphs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gasmcast.export.graphs import graph_file


@pytest.mark.parametrize(("most", "files"), [(1 << 30, ["a.onnx"]), (0, ["a.onnx", "a.onnx.data"])])
def test_a_graph_is_removed_with_its_weights(most, files, tmp_path, monkeypatch):
    monkeypatch.setattr(graph_file, "INLINE_BYTES", most)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 64]) for n in ("x", "y")]
    w = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], "g", ends[:1], ends[1:], [w]
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = graph_file.save_graph(model, tmp_path / "a.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == files
    assert onnx.load(str(path)).graph.initializer[0].raw_data == w.raw_data
    graph_file.remove_graph(path)
    assert list(tmp_path.iterdir()) == []
