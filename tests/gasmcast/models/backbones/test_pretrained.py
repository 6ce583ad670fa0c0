"""Weights download by themselves: announced, verified, once; offline is one sentence."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import save

from gasmcast.config import ModelConfig, load_config
from gasmcast.errors import MachineError, UsageError
from gasmcast.models.backbones.motion import MotionBackbone
from gasmcast.models.backbones.offline import prepare_weights
from gasmcast.models.backbones.pretrained import pretrained_motion, pretrained_semantic
from gasmcast.models.backbones.published import publish_motion, publish_semantic
from gasmcast.models.backbones.semantic import SemanticBackbone
from gasmcast.models.backbones.vit import SEMANTIC_NAMES
from gasmcast.spec import ClipSpec

VIT = "vit_tiny_patch16_224.augreg_in21k"
DINO = "vit_small_patch14_dinov2.lvd142m"


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18", "s3d"])
def test_torchvisions_weights_have_a_size_and_a_checksum(name: str) -> None:
    weights = publish_motion(name)
    assert weights.url.startswith("https://download.pytorch.org/")
    assert weights.size > 10_000_000
    assert len(weights.sha256) == 8
    assert int(weights.sha256, 16) >= 0


@pytest.mark.parametrize("name", SEMANTIC_NAMES.values())
def test_every_named_vit_has_a_repository(name: str, weights_server) -> None:
    repository = timm.models.get_pretrained_cfg(name).hf_hub_id
    weights_server.publish(repository, "model.safetensors", b"x", {"license": "apache-2.0"})
    weights = publish_semantic(name)
    assert weights.license == "apache-2.0"
    assert weights.url.startswith(f"{weights_server.url}/{repository}/resolve/c0ffee/")


def test_motion_weights_are_announced_verified_and_kept(weights_server, capsys) -> None:
    network = torchvision.models.video.s3d()
    content = io.BytesIO()
    torch.save(network.state_dict(), content)
    name = f"s3d-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.pth"
    weights_server.motion = f"/models/{name}"
    weights_server.files[weights_server.motion] = content.getvalue()
    weights_server.breaks = [10_000_000]

    for _ in range(2):
        backbone = MotionBackbone(ModelConfig(motion_backbone="s3d"), ClipSpec(pixels=64))
        backbone.load("pretrained")
        assert torch.equal(backbone.net["0"][0][0].weight, network.features[0][0][0].weight)
    assert weights_server.paths() == [weights_server.motion] * 2

    printed = capsys.readouterr().err
    assert printed.startswith("Downloading the weights of s3d, 34 MB, from http://127.0.0.1:")
    for part in ("License: BSD-3-Clause", "downloading  50 %", "Verified by its SHA-256"):
        assert part in printed


def test_semantic_weights_come_from_the_hub_and_equal_timms_own(weights_server, capsys) -> None:
    torch.manual_seed(0)
    vit = timm.create_model(VIT, pretrained=False)
    weights_server.publish(
        f"timm/{VIT}", "model.safetensors", save(vit.state_dict()), {"license": "mit"}
    )
    model = ModelConfig(semantic_backbone=VIT)
    backbone = SemanticBackbone(model, 224)
    backbone.load("pretrained")
    assert torch.equal(backbone.vit.blocks[3].mlp.fc1.weight, vit.blocks[3].mlp.fc1.weight)
    assert torch.equal(backbone.norm.weight, vit.norm.weight)
    assert "License: mit" in capsys.readouterr().err

    # The next start finds the file and asks nobody.
    requests = len(weights_server.requests)
    SemanticBackbone(model, 224).load("pretrained")
    assert len(weights_server.requests) == requests


def test_weights_of_the_hubs_own_cache_are_found(weights_server, tmp_path) -> None:
    commit = tmp_path / "hub" / f"models--timm--{VIT}" / "snapshots" / "abc"
    commit.mkdir(parents=True)
    (commit / "model.safetensors").write_bytes(b"x")
    refs = commit.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    assert pretrained_semantic(VIT) == commit / "model.safetensors"
    assert weights_server.requests == []


def test_another_file_than_the_published_one_is_refused(weights_server, tmp_path) -> None:
    weights_server.files[weights_server.motion] = b"from a captive portal"
    with pytest.raises(MachineError, match=r"weights of s3d were refused.*--motion-weights FILE"):
        pretrained_motion("s3d")
    assert list((tmp_path / "torch").rglob("s3d*")) == []


@pytest.mark.parametrize("offline", [False, True])
def test_no_network_is_one_sentence_with_both_ways_out(
    weights_server, monkeypatch, offline: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    weights_server.motion = None
    for get, name, flag in (
        (pretrained_semantic, VIT, "--semantic-weights"),
        (pretrained_motion, "s3d", "--motion-weights"),
    ):
        with pytest.raises(
            MachineError, match=rf"could not be downloaded.*{flag} FILE.*random"
        ) as caught:
            get(name)
        assert caught.value.exit_code == 3


@pytest.fixture
def small(weights_server):
    """The server has what `small-data` needs."""
    card = {"license": "other", "license_name": "some-license"}
    weights_server.publish(f"timm/{DINO}", "model.safetensors", b"dino" * 100_000, card)
    return load_config("small-data")


def test_a_preset_is_prepared_for_machines_without_a_network(
    small, weights_server, monkeypatch, tmp_path
) -> None:
    folder, lines = tmp_path / "weights", []
    weights_server.breaks = [10**9, 1000]
    prepared = prepare_weights(small, folder, lines.append)
    assert [entry.option for entry in prepared] == ["--semantic-weights", "--motion-weights"]
    for entry in prepared:
        assert entry.path.is_file()
        assert (
            entry.path.stem.rpartition("-")[2]
            == (hashlib.sha256(entry.path.read_bytes()).hexdigest()[:8])
        )
    printed = "\n".join(lines)
    assert "some-license" in printed
    assert "BSD-3-Clause" in printed
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ["weights.json", *(entry.path.name for entry in prepared)]
    )

    # The second call works without the server.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    requests = len(weights_server.requests)
    assert prepare_weights(small, folder, lines.append) == prepared
    assert len(weights_server.requests) == requests
    assert lines[-1].endswith("is complete.")


def test_a_broken_preparation_continues(small, weights_server, tmp_path) -> None:
    weights_server.breaks = [10**9, 1000] + [0] * 10
    with pytest.raises(MachineError, match=r"could not be downloaded.*Repeat the command"):
        prepare_weights(small, tmp_path / "weights", lambda _: None)

    weights_server.breaks.clear()
    weights_server.requests.clear()
    prepare_weights(small, tmp_path / "weights", lambda _: None)
    hub = [one for one in weights_server.requests if "resolve" in one[0]]
    assert hub[0][1]["Range"] == "bytes=1000-"


def test_an_altered_file_is_fetched_again(small, tmp_path) -> None:
    prepared = prepare_weights(small, tmp_path / "weights", lambda _: None)
    good = prepared[1].path.read_bytes()
    prepared[1].path.write_bytes(b"bit rot")
    prepare_weights(small, tmp_path / "weights", lambda _: None)
    assert prepared[1].path.read_bytes() == good


def test_what_training_downloaded_is_copied(small, weights_server, tmp_path) -> None:
    cached = pretrained_motion("s3d")
    weights_server.requests.clear()
    prepared = prepare_weights(small, tmp_path / "weights", lambda _: None)
    assert prepared[1].path.read_bytes() == cached.read_bytes()
    assert weights_server.motion not in weights_server.paths()


def test_what_needs_no_download_and_what_nobody_publishes(small, tmp_path: Path) -> None:
    assert prepare_weights(load_config("demo"), tmp_path, print) == []
    config = load_config("small-data", {"model.motion_backbone": "i3d"})
    with pytest.raises(UsageError, match=r"Nobody publishes weights of i3d.*weights convert"):
        prepare_weights(config, tmp_path, print)
