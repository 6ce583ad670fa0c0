"""The whole network on the `demo` preset: its equalities, and every switch of `ModelConfig`."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gasmcast.config import load_config
from gasmcast.models.attention import DropPath
from gasmcast.models.model import Features, GasmCast, build_model
from gasmcast.models.segment_frames import semantic_frames

SWITCHES: list[dict[str, object]] = [
    {},
    *({"fusion": name} for name in ("full", "concat", "add", "mul", "late")),
    *(
        {"fusion": name, "direction": way}
        for name in ("bcast", "full", "add")
        for way in ("to_semantic", "to_motion")
    ),
    {"attention_window": "full"},
    {"attention_window": "full", "fusion": "full"},
    *({"graph_semantic": name} for name in ("none", "knn")),
    {"k": None},
    {"semantic_tokens": "cell"},
    {"semantic_tokens": "cell", "attention_window": "full"},
    *({"semantic_tokens": "cell", "fusion": name} for name in ("full", "concat")),
    *({"graph_motion": name} for name in ("none", "gatv2")),
    {"temporal_adapter": 0},
    {"ffn_ratio": 0},
    *({"streams": name} for name in ("semantic", "motion")),
    *({"motion_context": name} for name in ("segment", "clip")),
    {"motion_pool": "pooled"},
    {"motion_pool": "pooled", "fusion": "concat"},
    {"motion_pool": "pooled", "attention_window": "full"},
    {"semantic_taps": [3], "motion_taps": ["layer4"]},
    {"layers": 1, "semantic_taps": [3], "motion_taps": ["layer4"]},
    {"layers": 2, "semantic_taps": [2, 3], "motion_taps": ["layer3", "layer4"]},
    *({"heads": n} for n in (2, 8, 16)),
    *({"bottleneck": r} for r in (0.25, 1.0)),
    {"freeze": True},
    {"read_out": "guarded"},
    {"semantic_contrast": 1.0},
    {"semantic_contrast": 1.0, "streams": "semantic"},
]


def demo(**switches: object):
    config = load_config(
        "demo",
        {"model.width": 32, "model.classes": 5, **{f"model.{k}": v for k, v in switches.items()}},
    )
    torch.manual_seed(0)
    return build_model(config), torch.randint(
        0, 256, (2, *config.spec.clip_shape), dtype=torch.uint8
    )


def trainable(model: GasmCast) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize(
    "switches", SWITCHES, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()) or "demo"
)
def test_every_switch_builds_forwards_and_trains_all_of_itself(switches, one_thread):
    """After three steps every weight has a gradient.

    Zero-initialized projections pass gradients only after a step, and two may follow each other.
    """
    model, clips = demo(**switches)
    model.train()
    optimizer = torch.optim.SGD(trainable(model), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(clips), torch.tensor([0, 1])).backward()
        optimizer.step()
    dead = [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().max() > 0)
    ]
    assert not dead
    model.eval()
    with torch.no_grad():
        forward, backward = model(clips), model(clips.flip(1, 2))
    assert forward.shape == (2, 5)
    assert (forward - backward).abs().max() > 1e-5, "the order of frames must count"


@pytest.mark.parametrize("context", ["previous", "segment"])
@pytest.mark.parametrize("streams", ["both", "semantic", "motion"])
def test_forward_is_classify_of_encode_however_it_streams(context, streams):
    model, clips = demo(motion_context=context, streams=streams)
    model.eval()
    with torch.no_grad():
        whole = model.encode(clips)
        parts = [model.encode(clips[:, i : i + 2]) for i in range(4)]
        stream = Features(
            torch.cat([p.semantic for p in parts], 1), torch.cat([p.motion for p in parts], 1)
        )
        logits = model(clips)
        assert torch.equal(logits, model.classify(whole))
    assert whole.semantic.shape == (2, 4, 3, 1, 16 if streams != "motion" else 0, 32)
    assert whole.motion.shape == (2, 4, 3, 4 if streams != "semantic" else 0, 32)
    for a, b in zip(whole, stream, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert torch.allclose(model.classify(stream), logits, atol=1e-5)


@pytest.mark.parametrize("fusion", ["bcast", "late"])
def test_logits_are_the_mean_of_the_streams(fusion):
    model, clips = demo(fusion=fusion)
    features = model.eval().encode(clips)
    scores = model.classify_streams(features)
    assert set(scores) == {"semantic", "motion"}
    assert torch.allclose(
        (scores["semantic"] + scores["motion"]) / 2, model.classify(features), atol=1e-6
    )


def test_paths_are_dropped_in_training_only():
    """Encoder and head drop branches of whole clips in training; evaluation drops none."""
    model, clips = demo(drop_path=0.5, dropout=0, drop_channels=0, freeze=True)
    whole, _ = demo(drop_path=0, dropout=0, drop_channels=0, freeze=True)
    with torch.no_grad():  # branches that start at zero would hide a drop
        for parameter in trainable(model):
            parameter.add_(0.1 * torch.randn_like(parameter))
        whole.load_state_dict(model.state_dict())
        assert torch.equal(model.eval()(clips), whole.eval()(clips))
        features = whole.encode(clips)
        model.train()
        encoded = {
            tuple(model.encode(clips).semantic.sum((1, 2, 3, 4, 5)).tolist()) for _ in range(6)
        }
        decided = {tuple(model.classify(features)[0].tolist()) for _ in range(6)}
        assert len(encoded) > 1
        assert len(decided) > 1
        assert torch.equal(whole.train()(clips), whole.eval()(clips))


def test_a_dropped_path_is_a_whole_sample_and_the_rest_is_scaled():
    drop = DropPath(0.25)
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    kept = drop(x)
    assert ((kept == 0) | ((kept - 4 / 3).abs() < 1e-6)).all()
    assert (kept == kept[:, :1, :1]).all()
    assert kept.mean() == pytest.approx(1, abs=0.05)
    assert drop.eval()(x) is x


def test_attention_is_given_when_asked_for():
    model, clips = demo()
    features = model.eval().encode(clips)
    logits, attention = model.classify(features, return_attention=True)
    assert torch.equal(logits, model.classify(features))
    assert len(attention.layers) == 3
    layer = attention.layers[0]
    assert layer.motion_graph.shape == (2, 4, 4, 4)
    assert layer.to_semantic.shape == (
        2 * 4,
        4,
        4 * 4,
        4,
    )  # a cell's patches over the clip x segments
    assert layer.to_motion.shape == (2 * 4, 4, 4, 16)  # a segment's cells x patches
    assert attention.readouts["semantic"].shape == (2, 4, 4 * 16)
    assert torch.allclose(attention.readouts["motion"].sum(-1), torch.ones(2, 4), atol=1e-5)
    edges = model.encoder.edges(clips)
    assert [e.shape for e in edges] == [(2 * 4, 4, 16, 16)] * 3
    assert torch.allclose(edges[0].sum(-1), torch.ones(8, 4, 16), atol=1e-5)


def test_one_bottleneck_serves_every_exchange_with_as_many_weights():
    sizes = {
        f: sum(p.numel() for p in demo(fusion=f, width=64)[0].head.parameters())
        for f in ("bcast", "full", "concat", "add", "mul", "late")
    }
    assert max(sizes.values()) / min(sizes.values()) < 1.02, sizes


def test_tap_statistics_are_measured_once_and_kept():
    model, clips = demo(freeze=True)
    model.fit_tap_statistics([clips, clips])
    first = {n: b.clone() for n, b in model.named_buffers() if "standard" in n}
    model.fit_tap_statistics([clips])
    for name, buffer in model.named_buffers():
        if name.endswith(("standard.mean", "standard.var")):
            assert torch.allclose(buffer, first[name], rtol=1e-4, atol=1e-6), name
    model.train()(clips)
    assert torch.equal(
        first["encoder.motion_taps.0.standard.mean"], model.encoder.motion_taps[0].standard.mean
    )


def test_uneven_semantic_frames_are_those_of_the_spec():
    config = load_config("demo", {"spec.motion_frames": 5, "spec.semantic_frames": 3, "model.k": 4})
    frames = torch.arange(5.0).view(1, 1, 5, 1, 1, 1)
    assert semantic_frames(frames, config.spec).flatten().tolist() == [
        float(i) for i in config.spec.semantic_indices
    ]
