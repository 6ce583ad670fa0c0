"""Law: an attention twin gives the features and logits of its graph to the bit on ONNX Runtime.

And its maps are those of the model in PyTorch.
"""

import numpy as np
import onnx
import pytest
import torch

from gasmcast.config import load_config
from gasmcast.errors import GateError
from gasmcast.export.checks.reference_engines import open_reference
from gasmcast.export.checks.run_clips import encode_clip
from gasmcast.export.checks.twin_parity import require_same_logits
from gasmcast.export.graphs.attention_twins import write_twins
from gasmcast.export.graphs.trace import export_onnx
from gasmcast.models.attention_maps import clip_maps
from gasmcast.models.model import build_model

pytestmark = pytest.mark.slow

# One layer has every kind of map, and is traced in a third of the time.
ONE_LAYER = {"model.layers": 1, "model.semantic_taps": [2], "model.motion_taps": ["layer3"]}
FULL = ONE_LAYER | {
    "model.fusion": "full",
    "model.attention_window": "full",
    "model.read_out": "guarded",
}


@pytest.fixture(scope="module")
def full_export(tmp_path_factory):
    """Trace a guarded model whose attention spans the whole clip."""
    torch.manual_seed(0)
    model = build_model(load_config("demo", FULL)).eval()
    with torch.no_grad():
        # Branches that start at zero would hide their defects.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model, export_onnx(model, tmp_path_factory.mktemp("full"))


def draw_clips(spec, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, *spec.clip_shape), np.uint8)


@pytest.mark.parametrize("kind", ["local", "full"])
def test_twins_give_the_same_logits_to_the_bit_and_the_maps_of_torch(kind, request, tmp_path):
    made = request.getfixturevalue("tiny_export" if kind == "local" else "full_export")
    model, paths = made[0], made[-1]
    twins = write_twins(model, paths, tmp_path)
    clips = draw_clips(model.spec)
    require_same_logits(paths, twins, clips, threads=1)

    plain = {name: open_reference(paths[name], 1) for name in ("encoder", "head")}
    encoder, head = (open_reference(twin.path, 1) for twin in twins)
    expected = clip_maps(model, torch.from_numpy(clips))
    for i, clip in enumerate(clips):
        features = encode_clip(encoder.run, clip)
        outputs = head.run({name: features[name] for name in head.inputs})
        same = plain["head"].run(encode_clip(plain["encoder"].run, clip))["logits"]
        assert outputs["logits"].tobytes() == same.tobytes()

        # The encoder's graphs come by segment, those of torch by frame of the window.
        for name in twins[0].maps:
            outputs[name] = features[name].reshape(1, -1, *features[name].shape[-2:])
        for name, maps in expected.items():
            np.testing.assert_allclose(outputs[name][0], maps[i].numpy(), atol=1e-5, err_msg=name)

    shapes = {name: shape for twin in twins for name, shape in twin.maps.items()}
    streams = {name for name in shapes if name.startswith("stream.")}
    assert shapes.keys() - streams == expected.keys()
    with torch.inference_mode():
        scores = model.classify_streams(model.encode(torch.from_numpy(clips[-1:])))
    for name in streams & {f"stream.{stream}" for stream in scores}:
        score = scores[name.removeprefix("stream.")]
        np.testing.assert_allclose(outputs[name], score.numpy(), atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model.motion_pool": "pooled", "model.semantic_tokens": "cell"},
        {"model.streams": "semantic", "model.graph_semantic": "none"},
        {"model.streams": "motion"},
        {"model.fusion": "add"},
    ],
)
def test_maps_are_shares(settings):
    torch.manual_seed(0)
    model = build_model(load_config("demo", ONE_LAYER | settings)).eval()
    maps = clip_maps(model, torch.from_numpy(draw_clips(model.spec, 1)))
    assert maps
    for name, values in maps.items():
        # A read-out spreads 1 over the window, a cell of `motion_from_semantic` over its frames.
        axes = (1, 2) if name.startswith("read_out") else (-1,)
        if name.startswith("motion_from_semantic"):
            axes = (-2, -1)
        torch.testing.assert_close(values.sum(axes), torch.ones_like(values.sum(axes)))


def test_a_twin_of_other_weights_is_refused(tiny_export, tmp_path):
    model, _, paths = tiny_export
    twins = write_twins(model, paths, tmp_path)
    wrong = onnx.load(str(twins[1].path))
    for tensor in wrong.graph.initializer:
        if tensor.name.endswith("classifier.weight"):
            values = onnx.numpy_helper.to_array(tensor) * 1.0001
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("f4"), tensor.name))
    onnx.save(wrong, str(twins[1].path))
    with pytest.raises(GateError, match="twin of the head gives other logits"):
        require_same_logits(paths, twins, draw_clips(model.spec, 1), threads=1)
