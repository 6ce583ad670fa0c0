"""Weights of backbones from local files, loaded strictly and refused in one sentence."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gasmcast.errors import MachineError, UsageError

__all__ = [
    "NoWeightsError",
    "load_strictly",
    "no_weights",
    "read_tensors",
    "starts_with_any",
]

WRAPPERS = ("state_dict", "model", "teacher", "module")


class NoWeightsError(MachineError):
    """Pretrained weights that this machine can neither download nor find."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a safetensors file or a PyTorch file that holds tensors only (`weights_only`).

    Raises:
        UsageError: no such file, or no file of weights.
    """
    if not path.is_file():
        raise UsageError(
            f"There is no file of weights at {path}.",
            "Give an existing .safetensors or .pth file, pretrained, or random.",
        )
    try:
        tree = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise UsageError(
            f"{path} is not a file of weights ({str(error).splitlines()[0]}).",
            "Give a .safetensors or .pth file.",
        ) from None
    for wrapper in WRAPPERS:
        if isinstance(tree, Mapping) and isinstance(tree.get(wrapper), Mapping):
            tree = tree[wrapper]
    if not isinstance(tree, Mapping) or not all(
        isinstance(value, Tensor) for value in tree.values()
    ):
        raise UsageError(
            f"{path} holds something else than named tensors.",
            "Give a .safetensors or .pth file of weights.",
        )
    return {str(name).removeprefix("module."): value for name, value in tree.items()}


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str, spare: Callable[[str], bool]
) -> None:
    """Load every parameter and buffer of `module`.

    Args:
        module: takes the weights.
        tensors: by the module's own names.
        where: names the origin in errors.
        spare: whether a tensor that the module has no place for may be left out (a classifier, a stage not read).

    Raises:
        UsageError: one is missing, of another shape, or of another network.
    """
    own = module.state_dict()
    missing = [
        name for name in own if name not in tensors and not name.endswith("num_batches_tracked")
    ]
    foreign = [name for name in tensors if name not in own and not spare(name)]
    wrong = [name for name in own if name in tensors and tensors[name].shape != own[name].shape]
    for fault, names in (
        ("lacks", missing),
        ("has another shape for", wrong),
        ("has, from another network,", foreign),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(
                f"{where} {fault} {names[0]!r}{more}.",
                "These are not the weights of this backbone: check the preset.",
            )
    module.load_state_dict(
        {name: value for name, value in tensors.items() if name in own}, strict=False
    )


def no_weights(what: str, option: str, error: BaseException) -> NoWeightsError:
    """The error of a machine that has neither the network nor a file."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    return NoWeightsError(
        f"The pretrained weights of {what} could not be downloaded ({reason}).",
        f"Give a file with {option} FILE, or {option} random to start without.",
    )


def starts_with_any(prefixes: Iterable[str]) -> Callable[[str], bool]:
    """A test for names that begin with one of `prefixes`."""
    chosen = tuple(prefixes)
    return lambda name: name.startswith(chosen)
