"""Law: every exported graph gives what torch gives, and the complete graph is the head over the stacked encoder, in every precision."""

import numpy as np
import onnx
import pytest
import torch

from gasmcast.calibration.clips import Choice
from gasmcast.calibration.store import write_set
from gasmcast.data.annotations import read_split
from gasmcast.export.heldout import made_up_clips, run_streaming
from gasmcast.export.parity import compare
from gasmcast.export.precisions import PRECISIONS, prepare, write_precision
from gasmcast.export.rules import check_rules
from gasmcast.export.sessions import open_arbiter, open_uncached
from gasmcast.export.verify import verify_against_torch
from gasmcast.runtime.video import duration_s

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tiny_export, tmp_path_factory):
    return made_up_clips(tiny_export[1].spec, tmp_path_factory.mktemp("clips"), 3).pixels


@pytest.fixture(scope="module")
def prepared(tiny_export, tiny_set, tmp_path_factory):
    _, config, paths = tiny_export
    folder = tmp_path_factory.mktemp("prepared")
    choices = [Choice(s, 1.0, duration_s(s.path)) for s in read_split(tiny_set, "train")[:6]]
    stored = write_set(folder / "set", choices, config.spec, 0)
    return prepare(paths, stored, folder, threads=1)


def test_every_component_equals_torch_on_both_engines(tiny_export, clips):
    model, _, paths = tiny_export
    report = verify_against_torch(model, paths, clips, threads=1)
    assert report, str(report)
    assert {(c.component, c.engine) for c in report.comparisons} == {
        (part, engine) for part in ("encoder", "head", "complete") for engine in ("onnxruntime", "openvino")
    }
    assert min(c.snr_db for c in report.comparisons) > 80


def test_a_head_of_other_weights_is_caught_and_named(tiny_export, clips, tmp_path):
    model, _, paths = tiny_export
    wrong = onnx.load(str(paths["head"]))
    for tensor in wrong.graph.initializer:
        if tensor.name.endswith("classifier.weight"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 1.1, tensor.name))
    onnx.save(wrong, str(tmp_path / "head.onnx"))
    report = verify_against_torch(model, {**paths, "head": tmp_path / "head.onnx"}, clips, threads=1)
    assert not report
    assert report.broken.component == "head"


def test_the_batch_is_free_and_nothing_else(tiny_export, clips):
    model, config, paths = tiny_export
    engine = open_uncached(paths["complete"], 1)
    many = engine.run({"clip": np.asarray(clips)})["logits"]
    with torch.inference_mode():
        origin = model(torch.from_numpy(np.asarray(clips))).numpy()
    assert compare("complete", "logits", "openvino", origin, many)
    for path in paths.values():
        for value in (*onnx.load(str(path)).graph.input, *onnx.load(str(path)).graph.output):
            dims = value.type.tensor_type.shape.dim
            assert dims[0].dim_param == "batch"
            assert all(d.dim_value > 0 for d in list(dims)[1:])
    assert engine.inputs["clip"].shape == (None, *config.spec.clip_shape)
    assert engine.inputs["clip"].dtype == np.uint8


def test_graphs_are_clean(tiny_export):
    model, _, paths = tiny_export
    norms = sum(isinstance(m, torch.nn.LayerNorm) for m in model.modules())
    kinds = []
    for name, path in paths.items():
        assert check_rules(path)
        graph = onnx.load(str(path))
        assert graph.opset_import[0].version == 20
        text = path.read_bytes()
        assert b".py" not in text, "source lines of the exporting machine"
        assert all(n.name for n in graph.graph.node)
        if name != "complete":
            kinds += [n.op_type for n in graph.graph.node]
    assert kinds.count("LayerNormalization") == norms
    assert "Attention" not in kinds
    assert "Softmax" in kinds


@pytest.mark.parametrize("precision", ["fp32", *PRECISIONS])
def test_complete_is_head_over_stacked_encoder(precision, tiny_export, prepared, clips, tmp_path):
    if precision == "fp32":
        paths = tiny_export[2]
    else:
        paths, rules = write_precision(prepared, precision, tmp_path)
        assert all(rules)
    engines = {name: open_arbiter(path, 1) for name, path in paths.items()}
    streamed = run_streaming(engines["encoder"], engines["head"], clips)
    whole = engines["complete"].run({"clip": np.asarray(clips)})["logits"]
    # What one graph keeps in FP16 between encoder and head, the other rounds at its border: that is all they may differ by.
    np.testing.assert_allclose(whole, streamed, atol=2e-5 if not precision.endswith("fp16") else 2e-2)


@pytest.mark.parametrize(("precision", "least_db"), [("fp16", 45), ("int8", 15), ("int8_fp16", 15)])
def test_precisions_stay_near_fp32(precision, least_db, tiny_export, prepared, clips, tmp_path):  # noqa: PLR0917 - fixtures
    paths, _ = write_precision(prepared, precision, tmp_path, complete=False)
    exact = run_streaming(*(open_arbiter(tiny_export[2][n], 1) for n in ("encoder", "head")), clips)
    given = run_streaming(*(open_arbiter(paths[n], 1) for n in ("encoder", "head")), clips)
    assert compare("complete", "logits", precision, exact, given).snr_db > least_db
    assert paths["encoder"].stat().st_size < tiny_export[2]["encoder"].stat().st_size
