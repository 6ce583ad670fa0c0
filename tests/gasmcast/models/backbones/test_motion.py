"""The motion backbones at their real grids, and the a-trous network against the stock one."""

from __future__ import annotations

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from gasmcast.config import ModelConfig
from gasmcast.errors import UsageError
from gasmcast.models.backbones.atrous import dilate_time
from gasmcast.models.backbones.c3d import C3D
from gasmcast.models.backbones.motion import MotionBackbone
from gasmcast.spec import ClipSpec

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


def config(name: str, **more: object) -> ModelConfig:
    return ModelConfig(motion_backbone=name, **more)


def run(net, x):
    for stage in STAGES:
        x = getattr(net, stage)(x)
    return x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("r3d_18", (128, 256, 512)),
        ("r2plus1d_18", (128, 256, 512)),
        ("mc3_18", (128, 256, 512)),
        ("s3d", (480, 832, 1024)),
        ("i3d", (480, 832, 1024)),
        ("c3d", (256, 512, 512)),
        ("tiny", (32, 64, 96)),
    ],
)
def test_every_backbone_gives_maps_of_28_14_and_7(name, channels):
    backbone = MotionBackbone(config(name), ClipSpec()).eval()
    size = 224 if backbone.full_size else 112
    with torch.no_grad():
        maps = backbone(torch.rand(1, 16, size, size, 3) * 255)
    assert [m.shape[1] for m in maps] == list(channels)
    assert [m.shape[-1] for m in maps] == [28, 14, 7]
    assert [tuple(m.shape[1:]) for m in maps] == backbone.shapes


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("r3d_18", (-1.8952, -1.7822, -1.7349), (2.4902, 2.7334, 2.8735)),
        ("i3d", (-1, -1, -1), (1, 1, 1)),
        (
            "c3d",
            (-104, -117, -128),
            (151, 138, 127),
        ),  # mmaction2: mean [104, 117, 128], std [1, 1, 1]
    ],
)
def test_a_backbone_gets_the_pixels_that_its_weights_were_trained_on(name, black, white):
    pixels = MotionBackbone(config(name), ClipSpec()).normalize
    for value, wanted in ((0.0, black), (255.0, white)):
        assert pixels(torch.full((3,), value)).tolist() == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(
    "build", [torchvision.models.video.r3d_18, torchvision.models.video.r2plus1d_18]
)
@pytest.mark.parametrize(("frames", "stride", "ratio"), [(16, 4, 2), (8, 2, 4)])
def test_atrous_outputs_are_the_stock_networks(build, frames, stride, ratio):
    """Every second (or fourth) map, borders included."""
    torch.manual_seed(0)
    stock, dense = build().eval(), build().eval()
    for module in stock.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    dense.load_state_dict(stock.state_dict())
    dilate_time(dense, stride)
    x = torch.randn(1, 3, frames, 16, 16)
    with torch.no_grad():
        few, many = run(stock, x), run(dense, x)
    assert many.shape[2] == ratio * few.shape[2]
    assert torch.allclose(many[:, :, ::ratio], few, atol=1e-5)


def test_a_network_without_temporal_strides_stays_as_it_is():
    net = torchvision.models.video.mc3_18()
    dilate_time(net, 1)
    assert all(m.dilation == (1, 1, 1) for m in net.modules() if isinstance(m, torch.nn.Conv3d))


@pytest.mark.parametrize(("frames", "outputs"), [(8, 64 // 8), (4, 32 // 4), (2, 16 // 2)])
def test_clip_context_gives_one_map_a_segment(frames, outputs):
    backbone = MotionBackbone(
        config("r3d_18", motion_context="clip"), ClipSpec(motion_frames=frames, semantic_frames=1)
    )
    assert backbone.shapes[-1][1] == outputs == 8


def test_a_file_of_weights_loads_strictly(tmp_path):
    net = torchvision.models.video.mc3_18()
    file = tmp_path / "mc3.pth"
    torch.save(net.state_dict(), file)
    backbone = MotionBackbone(config("mc3_18", motion_taps=("layer3",)), ClipSpec())
    backbone.load(str(file))
    assert torch.equal(backbone.net["layer3"][0].conv1[0].weight, net.layer3[0].conv1[0].weight)
    assert "layer4" not in backbone.net
    with pytest.raises(UsageError, match="another shape"):
        MotionBackbone(config("r3d_18"), ClipSpec()).load(str(file))

    s3d = torchvision.models.video.s3d()
    save_file(s3d.state_dict(), tmp_path / "s3d.safetensors")
    MotionBackbone(config("s3d"), ClipSpec()).load(str(tmp_path / "s3d.safetensors"))


def test_a_file_of_c3d_by_the_names_of_mmaction2_loads_strictly(tmp_path):
    torch.manual_seed(0)
    wanted = C3D().state_dict()
    assert "conv3b.conv.weight" in wanted
    dense = {
        f"backbone.fc{i}.{kind}": torch.zeros(2) for i in (6, 7) for kind in ("weight", "bias")
    } | {"cls_head.fc_cls.weight": torch.zeros(2)}
    named = {f"backbone.{name}": value for name, value in wanted.items()} | dense
    file = tmp_path / "c3d.pth"
    backbone = MotionBackbone(config("c3d"), ClipSpec())
    for tensors in (named, wanted):  # with the prefix and without
        torch.save({"meta": {"epoch": 45}, "state_dict": tensors}, file)
        backbone.load(str(file))
        held = backbone.state_dict()
        assert all(torch.equal(held[f"net.{name}"], value) for name, value in wanted.items())
        assert len(held) == len(wanted)
    for tensors, sentence in (
        (
            {name: value for name, value in named.items() if name != "backbone.conv3b.conv.bias"},
            r"lacks 'net\.conv3b\.conv\.bias'",
        ),
        (named | {"backbone.conv6a.conv.weight": torch.zeros(2)}, "from another network"),
        (named | {"backbone.conv1a.conv.weight": torch.zeros(2)}, "another shape"),
    ):
        torch.save({"state_dict": tensors}, file)
        with pytest.raises(UsageError, match=sentence):
            backbone.load(str(file))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"motion_backbone": "swin3d_t"}, "no 3D ResNet"),
        ({"motion_backbone": "no_such"}, "No motion backbone"),
        ({"motion_backbone": "r3d_18", "motion_taps": ("layer5",)}, "no stage 'layer5'"),
        ({"motion_backbone": "i3d", "motion_taps": ("Mixed_9z",)}, "no stage 'Mixed_9z'"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused_in_a_sentence(more, sentence):
    with pytest.raises(UsageError, match=sentence):
        MotionBackbone(ModelConfig(**more), ClipSpec())


def test_too_few_frames_are_refused_in_a_sentence():
    with pytest.raises(UsageError, match="cannot take 2 frames"):
        MotionBackbone(config("c3d", motion_context="segment"), ClipSpec(motion_frames=2))
    with pytest.raises(UsageError, match="strides 8 frames"):
        MotionBackbone(config("i3d", motion_context="clip"), ClipSpec(motion_frames=4))


@pytest.mark.parametrize("name", ["i3d", "c3d", "tiny"])
def test_weights_that_nobody_publishes(name):
    with pytest.raises(UsageError, match="Nobody publishes"):
        MotionBackbone(config(name), ClipSpec()).load("pretrained")
