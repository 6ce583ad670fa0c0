"""`gasmcast weights` says what it wrote, where from, under which license, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.errors import UsageError
from gasmcast.models.backbones.i3d import I3D

DINO = "timm/vit_small_patch14_dinov2.lvd142m"


def invoke(*words: str):
    return CliRunner().invoke(app, ["weights", *words], catch_exceptions=True)


def test_fetch_names_both_files_in_the_next_command(weights_server, tmp_path: Path) -> None:
    weights_server.publish(DINO, "model.safetensors", b"dino" * 1000, {"license": "apache-2.0"})
    done = invoke("fetch", "small-data", "--out", str(tmp_path / "my weights"))
    assert done.exit_code == 0, done.output
    words = shlex.split(done.stdout.strip().removeprefix("Next: "))
    assert words[:3] == ["gasmcast", "train", "small-data"]
    for flag in ("--semantic-weights", "--motion-weights"):
        assert Path(words[words.index(flag) + 1]).is_file()
    assert "License: apache-2.0" in done.stderr


def test_fetch_for_a_preset_without_pretrained_weights(tmp_path: Path) -> None:
    done = invoke("fetch", "demo", "--out", str(tmp_path / "weights"))
    assert "there is nothing to download" in done.stdout
    assert not (tmp_path / "weights").exists()


def test_fetch_of_i3d_says_how_to_convert(tmp_path: Path) -> None:
    words = ["fetch", "small-data", "--out", str(tmp_path), "--set", "model.motion_backbone=i3d"]
    done = invoke(*words, "--set", "model.semantic_weights=random")
    assert isinstance(done.exception, UsageError)
    assert "gasmcast weights convert" in done.exception.hint


@pytest.mark.slow
def test_convert_says_what_it_wrote_and_how_to_use_it(tmp_path: Path) -> None:
    tensors = I3D().state_dict()
    port = {
        "Conv3d_1a_7x7.conv3d.weight": tensors["Conv3d_1a_7x7.Conv_0.kernel"],
    }
    torch.save(port, tmp_path / "rgb_imagenet.pt")
    done = invoke("convert", str(tmp_path / "rgb_imagenet.pt"), str(tmp_path / "i3d.safetensors"))
    assert isinstance(done.exception, UsageError)
    assert "lacks" in str(done.exception)
