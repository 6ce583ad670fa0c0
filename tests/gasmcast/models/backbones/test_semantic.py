"""The semantic backbones at their real token grids, with random weights."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from gasmcast.config import ModelConfig
from gasmcast.errors import UsageError
from gasmcast.models.backbones.semantic import SemanticBackbone

IMAGENET = (
    (-2.1179, -2.0357, -1.8044),
    (2.2489, 2.4286, 2.6400),
)  # black and white pixels, normalized


def config(name: str, *taps: int, **more: object) -> ModelConfig:
    return ModelConfig(
        semantic_backbone=name,
        semantic_taps=taps or (4, 8, 12),
        layers=len(taps) or 3,
        motion_taps=("layer4",),
        **more,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels", "size", "black", "white"),
    [
        ("dinov3_b16", 768, 224, *IMAGENET),
        ("dinov3_s16", 384, 224, *IMAGENET),
        ("dinov2_s14", 384, 196, *IMAGENET),
        ("clip_b16", 768, 224, (-1.7923, -1.7521, -1.4802), (1.9303, 2.0749, 2.1459)),
        ("sup_b16", 768, 224, (-1, -1, -1), (1, 1, 1)),
    ],
)
def test_every_named_backbone_gives_14_x_14_tokens_and_gets_its_own_pixels(
    name, channels, size, black, white
):
    backbone = SemanticBackbone(config(name), 224).eval()
    with torch.no_grad():
        taps = backbone(torch.rand(1, 224, 224, 3) * 255)
    assert [tuple(t.shape) for t in taps] == [(1, 196, channels)] * 3
    assert backbone.input_size == size
    for value, wanted in ((0.0, black), (255.0, white)):
        assert backbone.normalize(torch.full((3,), value)).tolist() == pytest.approx(
            wanted, abs=1e-3
        )


def test_taps_are_the_blocks_and_only_the_last_is_normed():
    torch.manual_seed(0)
    full = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64).eval()
    backbone = SemanticBackbone(config("vit_tiny_patch16_224", 2, 12), 64).eval()
    backbone.vit.load_state_dict(full.state_dict(), strict=False)
    backbone.norm.load_state_dict(full.norm.state_dict())
    frames = torch.rand(2, 64, 64, 3) * 255
    with torch.no_grad():
        taps = backbone(frames)
        final, middle = full.forward_intermediates(
            backbone.normalize(frames).permute(0, 3, 1, 2),
            indices=[1],
            output_fmt="NLC",
            intermediates_only=False,
        )
    assert torch.allclose(taps[0], middle[0], atol=1e-5)
    assert torch.allclose(taps[1], final[:, 1:], atol=1e-5)


def test_what_no_tap_reads_is_not_built():
    assert len(SemanticBackbone(config("vit_tiny_patch16_224", 3), 64).vit.blocks) == 3


def test_a_file_of_weights_loads_strictly(tmp_path):
    file = tmp_path / "vit.safetensors"
    torch.manual_seed(0)
    full = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64)
    save_file(full.state_dict(), file)
    backbone = SemanticBackbone(config("vit_tiny_patch16_224", 6, 12), 64)
    backbone.load(str(file))
    assert torch.equal(backbone.vit.blocks[5].attn.qkv.weight, full.blocks[5].attn.qkv.weight)
    assert torch.equal(backbone.norm.weight, full.norm.weight)

    torch.save({"model": full.state_dict()}, tmp_path / "vit.pth")
    backbone.load(str(tmp_path / "vit.pth"))

    short = {k: v for k, v in full.state_dict().items() if k != "blocks.5.attn.qkv.weight"}
    save_file(short, file)
    with pytest.raises(UsageError, match=r"lacks 'vit.blocks.5.attn.qkv.weight'"):
        backbone.load(str(file))
    save_file(full.state_dict() | {"surprise": torch.zeros(1)}, file)
    with pytest.raises(UsageError, match="surprise"):
        backbone.load(str(file))
    file.write_bytes(b"no weights")
    with pytest.raises(UsageError, match="not a file of weights"):
        backbone.load(str(file))
    with pytest.raises(UsageError, match="There is no file"):
        backbone.load(str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("vit_base_patch32_224", "patches of 32 px"),
        ("no_such_vit", "No semantic backbone"),
        ("resnet18", "patch size"),
        ("swin_tiny_patch4_window7_224", "no plain ViT blocks"),
        ("vit_base_patch16_xp_224", "no plain ViT blocks"),
        ("vit_base_patch16_18x2_224", "no plain ViT blocks"),
        ("vit_huge_patch14_xp_224", "no plain ViT blocks"),
        ("naflexvit_base_patch16_gap", "no plain ViT patches"),
        ("samvit_base_patch16", "no plain ViT norm"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused_in_a_sentence(name, sentence):
    with (
        pytest.raises(UsageError, match=sentence),
        torch.device("meta"),
    ):  # on the meta device: some are huge
        SemanticBackbone(config(name), 224)


def test_a_vit_that_does_not_know_dynamic_sizes_is_built_and_loads(tmp_path):
    """BEiT has one fixed size, and its final norm is `fc_norm`."""
    torch.manual_seed(0)
    full = timm.create_model("beit_base_patch16_224", num_classes=0, img_size=64)
    save_file(full.state_dict(), tmp_path / "beit.safetensors")
    backbone = SemanticBackbone(config("beit_base_patch16_224", 2, 12), 64).eval()
    backbone.load(str(tmp_path / "beit.safetensors"))
    assert torch.equal(backbone.vit.blocks[11].attn.qkv.weight, full.blocks[11].attn.qkv.weight)
    with torch.no_grad():
        taps = backbone(torch.rand(1, 64, 64, 3) * 255)
    assert [tuple(tap.shape) for tap in taps] == [(1, 16, 768)] * 2
    assert backbone.norm is not None
    assert torch.equal(backbone.norm.weight, full.fc_norm.weight)


def test_taps_beyond_the_depth_are_refused():
    with pytest.raises(UsageError, match="blocks 1 to 3"):
        SemanticBackbone(config("tiny", 4), 64)


@pytest.mark.real
def test_dinov2_of_the_real_weights_loads(real_weights):
    """Its positions are for 37 x 37 patches: timm's filter resamples them to 14 x 14."""
    backbone = SemanticBackbone(config("dinov2_s14"), 224).eval()
    backbone.load(str(real_weights / "dinov2_vits14.safetensors"))
    with torch.no_grad():
        last = backbone(torch.rand(1, 224, 224, 3) * 255)[-1]
    assert last.shape == (1, 196, 384)
    assert last.std() > 0.1
