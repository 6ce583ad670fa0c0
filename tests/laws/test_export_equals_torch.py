"""Law: every exported graph computes what torch computes.

And the complete graph is the head over the stacked encoder, in every precision.
"""

import numpy as np
import onnx
import pytest
import torch

from gasmcast.calibration.choose_clips import Choice
from gasmcast.calibration.clip_store import write_set
from gasmcast.calibration.policy import Policy
from gasmcast.comparison import compare
from gasmcast.config import ModelConfig
from gasmcast.data.annotations import read_split
from gasmcast.export.checks.heldout_clips import made_up_clips
from gasmcast.export.checks.reference_engines import open_reference, open_uncached
from gasmcast.export.checks.run_clips import run_streaming
from gasmcast.export.checks.torch_parity import verify_against_torch
from gasmcast.export.graphs.rules import check_rules
from gasmcast.export.graphs.trace import export_onnx
from gasmcast.export.precisions.prepare import prepare, write_precision
from gasmcast.models.model import GasmCast
from gasmcast.spec import ClipSpec
from gasmcast.video.reader import duration_s

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
        (part, engine)
        for part in ("encoder", "head", "streaming", "complete")
        for engine in ("onnxruntime", "openvino")
    }
    assert min(c.snr_db for c in report.comparisons) > 80


def test_a_head_of_other_weights_is_caught_and_named(tiny_export, clips, tmp_path):
    model, _, paths = tiny_export
    wrong = onnx.load(str(paths["head"]))
    for tensor in wrong.graph.initializer:
        if tensor.name.endswith("classifier.weight"):
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 1.1, tensor.name)
            )
    onnx.save(wrong, str(tmp_path / "head.onnx"))
    report = verify_against_torch(
        model, {**paths, "head": tmp_path / "head.onnx"}, clips, threads=1
    )
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


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16", "int8_fp16"])
def test_complete_is_head_over_stacked_encoder(precision, tiny_export, prepared, clips, tmp_path):
    if precision == "fp32":
        paths = tiny_export[2]
    else:
        paths, rules = write_precision(prepared, precision, tmp_path)
        assert all(rules)
    engines = {name: open_reference(path, 1) for name, path in paths.items()}
    streamed = run_streaming(engines["encoder"], engines["head"], clips)
    whole = engines["complete"].run({"clip": np.asarray(clips)})["logits"]
    # One graph keeps FP16 between encoder and head, the other rounds at its border: they may differ
    # by that alone.
    np.testing.assert_allclose(
        whole, streamed, atol=2e-5 if not precision.endswith("fp16") else 2e-2
    )


@pytest.mark.parametrize(("precision", "least_db"), [("fp16", 45), ("int8", 15), ("int8_fp16", 15)])
def test_precisions_stay_near_fp32(  # noqa: PLR0917 - fixtures
    precision, least_db, tiny_export, prepared, clips, tmp_path
):
    paths, _ = write_precision(prepared, precision, tmp_path, complete=False)
    exact = run_streaming(
        *(open_reference(tiny_export[2][n], 1) for n in ("encoder", "head")), clips
    )
    given = run_streaming(*(open_reference(paths[n], 1) for n in ("encoder", "head")), clips)
    assert compare("complete", "logits", precision, exact, given).snr_db > least_db
    assert paths["encoder"].stat().st_size < tiny_export[2]["encoder"].stat().st_size


TINY = {
    "classes": 3, "semantic_backbone": "tiny", "semantic_weights": "random", "semantic_taps": (2,),
    "motion_backbone": "tiny", "motion_weights": "random", "motion_taps": ("layer3",),
    "freeze": False, "width": 16, "layers": 1, "heads": 2, "k": 4, "temporal_adapter": 8,
}  # fmt: skip
# Every switch once; an export takes seconds, so switches that do not meet share a model.
VARIANTS = {
    "fusion-full": {"fusion": "full", "graph_semantic": "knn", "graph_motion": "gatv2"},
    "fusion-concat": {"fusion": "concat", "motion_context": "clip"},
    "fusion-add": {"fusion": "add", "motion_context": "segment"},
    "fusion-mul": {"fusion": "mul", "motion_pool": "pooled"},
    "fusion-late": {
        "fusion": "late",
        "graph_semantic": "none",
        "graph_motion": "none",
        "temporal_adapter": 0,
        "ffn_ratio": 0.0,
    },
    "streams-semantic": {"streams": "semantic", "k": None},
    "streams-motion": {"streams": "motion"},
    "full-window": {"attention_window": "full"},
    "guarded": {"read_out": "guarded", "stream_weights": (0.2, 0.5, 0.3), "semantic_contrast": 1.0},
    "guarded-one-stream": {
        "read_out": "guarded",
        "stream_weights": (0.0, 1.0, 0.0),
        "direction": "to_motion",
    },
    "s3d": {"motion_backbone": "s3d", "motion_taps": ("layer2",)},
    "r2plus1d": {"motion_backbone": "r2plus1d_18"},
    "mc3": {"motion_backbone": "mc3_18"},
}


def variant(changes, spec):
    """A tiny model of one variant, awake in every branch."""
    torch.manual_seed(0)
    net = GasmCast(ModelConfig(**{**TINY, **changes}), spec).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_exports_and_equals_torch(name, tmp_path):
    spec = ClipSpec(segments=2, motion_frames=4, semantic_frames=1, pixels=32)
    model = variant(VARIANTS[name], spec)
    paths = export_onnx(model, tmp_path)
    report = verify_against_torch(model, paths, made_up_clips(spec, tmp_path, 3).pixels, threads=1)
    assert report, str(report)
    for path in paths.values():
        assert check_rules(path), str(check_rules(path))


@pytest.mark.parametrize(("precision", "least_db"), [("fp16", 45), ("int8", 15), ("int8_fp16", 15)])
def test_a_guarded_head_in_other_precisions(precision, least_db, guarded, tmp_path):
    """The stream weights mix log-probabilities of three read-outs: all stay in high precision."""
    fp32, ready, clips = guarded
    paths, rules = write_precision(ready, precision, tmp_path, complete=False)
    assert all(rules)
    exact = run_streaming(*(open_reference(fp32[n], 1) for n in ("encoder", "head")), clips)
    given = run_streaming(*(open_reference(paths[n], 1) for n in ("encoder", "head")), clips)
    assert compare("complete", "logits", precision, exact, given).snr_db > least_db
    chosen = [c.node for c in Policy().choose(ready.calibrated["head"].candidates)]
    assert chosen
    assert not [node for node in chosen if "classifier" in node or "read" in node], chosen


@pytest.fixture(scope="module")
def guarded(tiny_set, tmp_path_factory):
    """FP32 graphs of a guarded model, what its precisions are written from, and clips."""
    folder = tmp_path_factory.mktemp("guarded")
    spec = ClipSpec(segments=2, motion_frames=4, semantic_frames=1, pixels=32)
    paths = export_onnx(variant(VARIANTS["guarded"], spec), folder)
    choices = [Choice(s, 1.0, duration_s(s.path)) for s in read_split(tiny_set, "train")[:6]]
    ready = prepare(paths, write_set(folder / "set", choices, spec, 0), folder, threads=1)
    return paths, ready, made_up_clips(spec, folder, 3).pixels
