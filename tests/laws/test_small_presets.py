"""The presets `lite` and `nano` stream exactly and export to ONNX, at their real size."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from gasmcast.config import load_config
from gasmcast.export.graphs.trace import export_onnx
from gasmcast.models.counts import count
from gasmcast.models.model import GasmCast, build_model

PRESETS = ("lite", "nano")
MAX_GMACS = {"lite": 16.0, "nano": 5.0}


@pytest.fixture(scope="module", params=PRESETS)
def model(request) -> GasmCast:
    """Model with random weights and noise on all of them, so zero-initialized branches matter."""
    torch.manual_seed(0)
    overrides = {
        "model.classes": 5,
        "model.semantic_weights": "random",
        "model.motion_weights": "random",
    }
    made = build_model(load_config(request.param, overrides)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def clip(model) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (1, *model.spec.clip_shape), np.uint8)


def test_segment_by_segment_it_gives_the_logits_of_the_whole_clip(model, clip) -> None:
    frames = torch.from_numpy(clip)
    with torch.no_grad():
        whole = model(frames)
        encoded = [model.encode(frames[:, i : i + 2]) for i in range(model.spec.segments)]
        semantic = torch.cat([features.semantic for features in encoded], dim=1)
        motion = torch.cat([features.motion for features in encoded], dim=1)
        streamed = model.classify(type(encoded[0])(semantic, motion))
    assert np.ptp(whole.numpy()) > 1e-3
    np.testing.assert_allclose(streamed.numpy(), whole.numpy(), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_exported_graphs_equal_torch(model, clip, tmp_path) -> None:
    graphs = export_onnx(model, tmp_path)
    session = onnxruntime.InferenceSession(str(graphs["complete"]))
    (logits,) = session.run(None, {"clip": clip})
    with torch.no_grad():
        expected = model(torch.from_numpy(clip)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_decision_stays_within_its_multiply_adds(preset) -> None:
    counts = count(load_config(preset))
    assert counts.macs.decision is not None
    assert counts.macs.decision < MAX_GMACS[preset] * 1e9
    assert counts.parameters.frozen_share >= 0.85
