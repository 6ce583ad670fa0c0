"""Public I3D checkpoints become ours: a checkpoint that TensorFlow wrote, and the PyTorch port."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import torch

from gasmcast.config import ModelConfig
from gasmcast.errors import UsageError
from gasmcast.models.backbones.i3d import I3D
from gasmcast.models.backbones.i3d_convert import convert_i3d, write_i3d
from gasmcast.models.backbones.motion import MotionBackbone
from gasmcast.models.backbones.tf_checkpoint import read_tf_checkpoint
from gasmcast.spec import ClipSpec

# Written by TensorFlow 2.21 (tf.compat.v1.train.Saver) from `VARIABLES`, drawn in this order.
INDEX = (
    "AAAGCAEaAggBAC8fUkdCL2luY2VwdGlvbl9pM2QvQ29udjNkXzFhXzd4Ny9iYXRjaF9ub3JtL2JldGEIARIUEgII"
    "ARICCAESAggBEgIIARICCAQoEDW0Y6HAKwshbW92aW5nX21lYW4IARIUEgIIARICCAESAggBEgIIARICCAQgECgQ"
    "NeK9tQcyCCF2YXJpYW5jZQgBEhQSAggBEgIIARICCAESAggBEgIIBCAgKBA1xt9yZiAJIWNvbnZfM2QvdwgBEhQS"
    "AggCEgIIARICCAESAggDEgIIBCAwKGA1WghWlhIeEkxvZ2l0cy9Db252M2RfMGNfMXgxL2NvbnZfM2QvYggBEgQS"
    "AggDIJABKAw1wwF+fS8BIncIARIUEgIIARICCAESAggBEgIIAhICCAMgnAEoGDUPPuJcEikiTWl4ZWRfNWIvQnJh"
    "bmNoXzIvQ29udjNkXzBhXzN4My9jb252XzNkL3cIARIUEgIIARICCAESAggBEgIIAhICCAIgtAEoEDWBC8BeAAAA"
    "AAEAAAAAFGWuLgAAAAABAAAAAMDyobAAAQNTAJEDAAAAAAEAAAAAun9mZZYDCKMDDwAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAABX+4CLJHVH2w=="
)
DATA = (
    "0klnP4WJwD34VT6/MvZrvwpb6r7VemE+KzuBvx8yVr7iCyO+23QKP5rPWz5p87U+bL8APn9GB7698iM/39XWPaEh"
    "Cb/9Irk+eemmP+Zzcj/+JzS/Vfmhv+qOH79uRSk9Ts0UwOwKYL4Dep+/4HU7v49UC78Y8qG+PcHSPhRxhT+XngO+"
    "RuiuPzNKKr8h+bM+bKC6P7/p+j/5m+Y/Dymhv0HIwT+lRaw/BgRIP7pmhz5+uqC+UGEnv3C5BL6eskg/wCi/Pw=="
)
VARIABLES = {
    "Conv3d_1a_7x7/conv_3d/w": (2, 1, 1, 3, 4),
    "Conv3d_1a_7x7/batch_norm/beta": (1, 1, 1, 1, 4),
    "Conv3d_1a_7x7/batch_norm/moving_mean": (1, 1, 1, 1, 4),
    "Conv3d_1a_7x7/batch_norm/moving_variance": (1, 1, 1, 1, 4),
    "Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w": (1, 1, 1, 2, 2),
    "Logits/Conv3d_0c_1x1/conv_3d/w": (1, 1, 1, 2, 3),
    "Logits/Conv3d_0c_1x1/conv_3d/b": (3,),
}
PORT_BRANCHES = {
    "Branch_0.Conv3d_0a_1x1": "b0",
    "Branch_1.Conv3d_0a_1x1": "b1a",
    "Branch_1.Conv3d_0b_3x3": "b1b",
    "Branch_2.Conv3d_0a_1x1": "b2a",
    "Branch_2.Conv3d_0b_3x3": "b2b",
    "Branch_3.Conv3d_0b_1x1": "b3b",
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "model.ckpt.index").write_bytes(base64.b64decode(INDEX))
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(base64.b64decode(DATA))
    return tmp_path / "model.ckpt"


def test_a_checkpoint_of_tensorflow_is_read(checkpoint: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = read_tf_checkpoint(checkpoint)
    assert set(tensors) == {f"RGB/inception_i3d/{name}" for name in VARIABLES}
    for name, shape in VARIABLES.items():
        expected = rng.normal(size=shape).astype("f4")
        assert np.array_equal(tensors[f"RGB/inception_i3d/{name}"], expected)


def test_its_names_and_layouts_become_ours(checkpoint: Path) -> None:
    original = read_tf_checkpoint(checkpoint)
    tensors = convert_i3d(checkpoint.with_name("model.ckpt.index"))
    kernel = tensors["Conv3d_1a_7x7.Conv_0.kernel"]
    assert kernel.shape == (4, 3, 2, 1, 1)
    published = original["RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"]
    assert kernel[1, 2, 0, 0, 0] == published[0, 0, 0, 2, 1]
    assert tensors["Conv3d_1a_7x7.BatchNorm_0.var"].shape == (4,)
    assert "Mixed_5b.Branch_2.Conv3d_0b_3x3.Conv_0.kernel" in tensors
    assert tensors["Logits.Conv3d_0c_1x1.Conv_0.bias"].shape == (3,)


@pytest.mark.parametrize("cut", [0, 10, 200, 440])
def test_a_damaged_index_is_one_sentence(checkpoint: Path, cut: int) -> None:
    index = checkpoint.with_name("model.ckpt.index")
    index.write_bytes(index.read_bytes()[:cut])
    with pytest.raises(UsageError, match="not a TensorFlow checkpoint"):
        convert_i3d(checkpoint)


def test_missing_files_are_named(checkpoint: Path) -> None:
    checkpoint.with_name("model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(UsageError, match=r"data-00000-of-00001 cannot be read"):
        convert_i3d(checkpoint)


def as_port(state: dict[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    """Our state dict by the names of the port, whose BatchNorm has a scale."""
    port = {}
    for name, value in state.items():
        leaf = ".".join(name.split(".")[-2:])
        unit = name.removesuffix(f".{leaf}")
        for path, branch in PORT_BRANCHES.items():
            unit = unit.replace(path, branch)
        if leaf == "Conv_0.kernel":
            port[f"{unit}.conv3d.weight"] = value / scale
            port[f"{unit}.bn.weight"] = torch.full((len(value),), scale)
        else:
            kind = {"bias": "bias", "mean": "running_mean", "var": "running_var"}
            scaled = value / scale if leaf.endswith("mean") else value
            port[f"{unit}.bn.{kind[leaf.split('.')[1]]}"] = scaled
    return port


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_port_gives_the_same_network(tmp_path: Path, scale: float) -> None:
    torch.manual_seed(0)
    network = I3D().eval()
    for name, buffer in network.named_buffers():
        buffer.uniform_(0.5, 1.5) if name.endswith("var") else buffer.normal_()
    torch.save(as_port(network.state_dict(), scale), tmp_path / "rgb_imagenet.pt")

    converted = I3D().eval()
    converted.load_state_dict(convert_i3d(tmp_path / "rgb_imagenet.pt"))
    x = torch.rand(1, 3, 8, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(converted(x), network(x), atol=1e-5)


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pt")
    with pytest.raises(UsageError, match="not a checkpoint of Inception-I3D"):
        convert_i3d(tmp_path / "resnet.pt")


def published() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return I3D().state_dict()


def test_a_written_file_loads_and_says_what_it_is(tmp_path: Path) -> None:
    torch.save(as_port(published(), 1.0), tmp_path / "rgb_imagenet.pt")
    out = tmp_path / "new" / "i3d.safetensors"
    converted = write_i3d(tmp_path / "rgb_imagenet.pt", out)
    assert str(converted).startswith("Inception-I3D (RGB, trained on Kinetics-400), 12.")
    backbone = MotionBackbone(ModelConfig(motion_backbone="i3d"), ClipSpec(pixels=64))
    backbone.load(str(out))
    first = backbone.net["Conv3d_1a_7x7"].Conv_0.kernel
    assert torch.equal(first, published()["Conv3d_1a_7x7.Conv_0.kernel"])

    with pytest.raises(UsageError, match="exists already"):
        write_i3d(tmp_path / "rgb_imagenet.pt", out)
    assert write_i3d(tmp_path / "rgb_imagenet.pt", out, force=True).size == out.stat().st_size


def test_weights_for_optical_flow_or_of_half_a_network_are_not_written(tmp_path: Path) -> None:
    port = as_port(published(), 1.0)
    flow = port | {"Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, 2, 7, 7, 7)}
    half = {name: value for name, value in port.items() if not name.startswith("Mixed_5")}
    for name, state, reason in (("flow", flow, "another shape"), ("half", half, "lacks")):
        torch.save(state, tmp_path / f"{name}.pt")
        with pytest.raises(UsageError, match=reason):
            write_i3d(tmp_path / f"{name}.pt", tmp_path / "i3d.safetensors")
    assert not (tmp_path / "i3d.safetensors").exists()


def test_the_output_must_be_safetensors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        write_i3d(tmp_path / "rgb_imagenet.pt", tmp_path / "i3d.pth")


@pytest.mark.parametrize("name", ["", "model.ckpt.data-00000-of-00001", "model.ckpt.index"])
def test_the_folder_or_any_file_of_a_checkpoint_names_it(checkpoint: Path, name: str) -> None:
    # The small checkpoint is found and read; it is not a whole network.
    with pytest.raises(UsageError, match=r"has another shape|lacks"):
        write_i3d(checkpoint.parent / name, checkpoint.parent / "i3d.safetensors")


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds 0 TensorFlow checkpoints"):
        write_i3d(tmp_path, tmp_path / "i3d.safetensors")
