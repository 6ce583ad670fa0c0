"""Features that OpenVINO computes are those of PyTorch, and have caches of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gasmcast.config import Config, load_config
from gasmcast.data.annotations import Sample
from gasmcast.data.dataset import ClipDataset
from gasmcast.errors import MachineError, UsageError
from gasmcast.features import openvino_taps
from gasmcast.features.cache_plan import plan_cache
from gasmcast.features.encode import fill_cache
from gasmcast.features.feature_dataset import FeatureDataset
from gasmcast.features.openvino_taps import OpenVinoTaps
from gasmcast.models.model import GasmCast, build_model
from gasmcast.training.inputs.feature_caches import find_caches, plan_caches


def make(**model: object) -> tuple[Config, GasmCast]:
    """Return a frozen tiny model whose caches OpenVINO fills."""
    settings = {f"model.{name}": value for name, value in model.items()}
    settings |= {"model.freeze": True, "model.classes": 2, "train.cache_encoder": "openvino"}
    config = load_config("demo", settings)
    torch.manual_seed(0)
    return config, build_model(config).eval()


def noise(config: Config, count: int) -> torch.Tensor:
    shape = (count, *config.spec.clip_shape)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    from tests.conftest import write_video

    folder = tmp_path_factory.mktemp("clips")
    return [
        Sample(str(i), i % 2, str(write_video(folder / f"{i}.mp4", 1.0, seed=i))) for i in range(3)
    ]


@pytest.mark.parametrize("context", ["previous", "segment"])
@pytest.mark.parametrize("streams", ["both", "semantic", "motion"])
@pytest.mark.parametrize("bf16", [False, True])
def test_rows_are_those_of_pytorch(
    context: str, streams: str, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_taps, "_has_bf16", lambda: bf16)
    config, model = make(motion_context=context, streams=streams)
    clips = noise(config, 2)
    expected = model.backbone_taps(clips)
    rows = OpenVinoTaps(model)(clips)
    assert rows.shape == expected.shape
    error = float((rows - expected).norm() / (expected - expected.mean()).norm())
    assert error < (0.1 if bf16 else 1e-4)


def test_a_network_that_computes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, model = make()
    _, other = make()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_()
    compiled = openvino_taps._compile
    monkeypatch.setattr(openvino_taps, "_compile", lambda _, pair: compiled(other, pair))
    with pytest.raises(MachineError, match="differ from PyTorch's by") as caught:
        OpenVinoTaps(model)
    assert "train.cache_encoder=torch" in str(caught.value.hint)


def test_backbones_that_cannot_be_converted_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such operation\ndetails")

    monkeypatch.setattr(openvino_taps, "_compile", fail)
    with pytest.raises(MachineError, match=r"cannot convert the backbones \(no such operation\)"):
        OpenVinoTaps(make()[1])


def test_a_cache_of_openvino_is_filled_and_found_again(
    tmp_path: Path, samples: list[Sample]
) -> None:
    config, model = make()
    caches = plan_caches(config, {"train": samples}, tmp_path)
    plan = caches.parts["train"].plan
    assert plan.encoder == "openvino"
    fill_cache(plan, caches.model, config, samples, {})

    rows = torch.stack([FeatureDataset(plan, samples)[i][0] for i in range(3)]).float()
    clips = torch.stack([ClipDataset(samples, config.spec)[i][0] for i in range(3)])
    expected = model.backbone_taps(clips)
    assert float((rows - expected).norm() / (expected - expected.mean()).norm()) < 0.1

    # Whatever the run would encode with, the cache that is there serves it.
    exact = load_config(
        "demo", {"model.freeze": True, "model.classes": 2, "train.cache_encoder": "torch"}
    )
    found = find_caches(exact, {"train": samples}, tmp_path)
    assert found.parts["train"].plan.key == plan.key
    assert "openvino" in found.name

    # Where there is a choice, the setting decides.
    for wanted in (config, exact):
        other = plan_caches(wanted, {"train": samples}, tmp_path)
        fill_cache(other.parts["train"].plan, other.model, wanted, samples, {})
    for wanted in (config, exact):
        chosen = find_caches(wanted, {"train": samples}, tmp_path).parts["train"].plan
        assert chosen.encoder == wanted.train.cache_encoder


def test_another_encoder_is_another_cache(tmp_path: Path, samples: list[Sample]) -> None:
    config, model = make()
    plans = {
        encoder: plan_cache(model, config, samples, tmp_path, "train", encoder=encoder)
        for encoder in ("torch", "openvino")
    }
    assert plans["torch"].key != plans["openvino"].key
    fill_cache(plans["openvino"], model, config, samples, {})
    with pytest.raises(UsageError, match="encoder"):
        FeatureDataset(plans["torch"], samples)

    # A model of one stream must not take the exact half of an inexact cache.
    alone, network = make(streams="semantic")
    one = plan_cache(network, alone, samples, tmp_path, "train", encoder="torch")
    assert not one.shared
    assert plan_cache(network, alone, samples, tmp_path, "train").shared


def test_a_backbone_that_sees_whole_clips_stays_in_pytorch(
    tmp_path: Path, samples: list[Sample]
) -> None:
    config, model = make(motion_context="clip")
    assert plan_cache(model, config, samples, tmp_path, "train").encoder == "torch"
