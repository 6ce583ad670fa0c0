"""The fusion is never worse than its best stream, because it can be that stream exactly.

Weight by weight and logit by logit.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gasmcast.config import load_config
from gasmcast.data.source_folds import split_folds
from gasmcast.evaluation.metrics import top_k
from gasmcast.models.model import GasmCast
from gasmcast.models.shape import Features
from gasmcast.training.objective import separate_loss, soft_targets
from gasmcast.training.stacking.stream_weights import fit_stream_weights

CLASSES = 5
NAMES = ("semantic", "motion", "fused")


def guarded(**switches: object) -> GasmCast:
    torch.manual_seed(0)
    config = load_config(
        "demo",
        {
            "model.classes": CLASSES,
            "model.read_out": "guarded",
            **{f"model.{k}": v for k, v in switches.items()},
        },
    )
    model = GasmCast(config.model, config.spec)
    with (
        torch.no_grad()
    ):  # the zero-initialized branches must say something, else every read-out trivially agrees
        for name, parameter in model.named_parameters():
            if not parameter.any():
                parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return model.eval()


def features_of(model: GasmCast, clips: int = 4) -> Features:
    clip = torch.randint(
        0,
        256,
        (clips, *model.spec.clip_shape),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(1),
    )
    with torch.no_grad():
        return model.encode(clip)


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_all_of_the_gate_on_one_read_out_is_that_read_out(chosen: int) -> None:
    model = guarded(stream_weights=[float(i == chosen) for i in range(3)])
    features = features_of(model)
    own = model.classify_streams(features)[NAMES[chosen]].log_softmax(-1)
    torch.testing.assert_close(model.classify(features), own, rtol=0, atol=0)


@pytest.mark.parametrize("contrast", [0.0, 1.0])
@pytest.mark.parametrize("stream", ["semantic", "motion"])
def test_a_stream_of_a_guarded_model_is_the_stream_alone(stream: str, contrast: float) -> None:
    both = guarded(semantic_contrast=contrast)
    config = load_config(
        "demo",
        {"model.classes": CLASSES, "model.streams": stream, "model.semantic_contrast": contrast},
    )
    alone = GasmCast(config.model, config.spec).eval()
    weights = both.state_dict()
    alone.load_state_dict(
        {name: weights[name] for name in alone.state_dict()}
    )  # every weight of the stream alone is there
    features = features_of(both)
    only = Features(
        *(
            part if name == stream else part[..., :0, :]
            for name, part in zip(("semantic", "motion"), features, strict=True)
        )
    )
    torch.testing.assert_close(
        alone.classify(only), both.classify_streams(features)[stream], rtol=1e-6, atol=1e-6
    )


def test_no_weight_of_a_stream_learns_from_the_fusion() -> None:
    model = guarded().train()
    features = Features(*(part.requires_grad_() for part in features_of(model)))
    targets = soft_targets(torch.tensor([0, 1, 2, 3]), CLASSES, 0.1)
    separate_loss({"fused": model.classify_streams(features)["fused"]}, targets).backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched
    assert all(".exchange." in name or "readouts.fused" in name for name in touched)
    assert features.semantic.grad is None
    assert features.motion.grad is None


def test_every_read_out_trains() -> None:
    model = guarded().train()
    clip = torch.randint(0, 256, (2, *model.spec.clip_shape), dtype=torch.uint8)
    separate_loss(
        model.classify_streams(model.encode(clip)), soft_targets(torch.tensor([0, 1]), CLASSES, 0.1)
    ).backward()
    idle = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert not idle


def scores_of(strength: float, labels: np.ndarray, seed: int, sure: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return sure * (rng.normal(size=(len(labels), CLASSES)) + strength * np.eye(CLASSES)[labels])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sure", [0.3, 1.0, 6.0])
def test_a_stream_that_knows_nothing_costs_nothing_that_counts(seed: int, sure: float) -> None:
    labels = np.random.default_rng(seed).integers(0, CLASSES, 120)
    gate = fit_stream_weights(
        np.stack([scores_of(0.0, labels, seed + 10, sure=sure), scores_of(3.0, labels, seed + 20)]),
        labels,
    )
    assert gate[0] * sure < 0.05
    fresh = np.random.default_rng(seed + 5).integers(0, CLASSES, 4000)
    new = np.stack([scores_of(0.0, fresh, seed + 30, sure=sure), scores_of(3.0, fresh, seed + 40)])
    assert top_k(np.tensordot(gate, new, 1), fresh) >= top_k(new[1], fresh) - 0.005


def test_the_gate_joins_streams_that_each_know_something() -> None:
    labels = np.random.default_rng(0).integers(0, CLASSES, 400)
    found = np.stack([scores_of(1.5, labels, 1), scores_of(1.5, labels, 2)])
    gate = fit_stream_weights(found, labels)
    assert gate.min() > 0.3
    fresh = np.random.default_rng(9).integers(
        0, CLASSES, 400
    )  # on clips the gate was not fitted on
    new = np.stack([scores_of(1.5, fresh, 3), scores_of(1.5, fresh, 4)])
    assert top_k(np.tensordot(gate, new, 1), fresh) > max(top_k(part, fresh) for part in new) + 0.03


def test_folds_keep_a_footage_together_and_classes_even() -> None:
    groups = [f"v{i // 3}" for i in range(60)]
    labels = [i // 3 % 2 for i in range(60)]
    fold = split_folds(labels, groups, 4)
    assert all(
        len(set(fold[[i for i, g in enumerate(groups) if g == name]])) == 1 for name in set(groups)
    )
    for k in range(4):
        assert 0.3 <= np.mean([labels[i] for i in np.flatnonzero(fold == k)]) <= 0.7
        assert 12 <= (fold == k).sum() <= 18
