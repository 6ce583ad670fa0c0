"""Load backbone weights from local files strictly, and refuse unfit ones in one sentence."""

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
    "read_weights",
    "starts_with_any",
]

# Keys under which published files nest their tensors.
WRAPPERS = ("state_dict", "model", "teacher", "module")
UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    KeyError,
    pickle.UnpicklingError,
    SafetensorError,
)


class NoWeightsError(MachineError):
    """Pretrained weights can be neither downloaded nor found on this machine."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a safetensors file, or a PyTorch file that holds only tensors.

    PyTorch files are read with `weights_only`, so no code in them runs.

    Raises:
        UsageError: there is no such file, or it holds no weights.
    """
    if not path.is_file():
        raise UsageError(
            f"There is no file of weights at {path}.",
            "Give an existing .safetensors or .pth file, pretrained, or random.",
        )
    try:
        if path.suffix == ".safetensors":
            tree = load_file(path)
        else:
            tree = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise UsageError(
            f"{path} is not a file of weights ({str(error).splitlines()[0]}).",
            "Give a .safetensors or .pth file.",
        ) from None

    # Wrappers may be nested: {"model": {"state_dict": ...}}.
    for wrapper in WRAPPERS:
        if isinstance(tree, Mapping) and isinstance(tree.get(wrapper), Mapping):
            tree = tree[wrapper]

    if not isinstance(tree, Mapping) or not all(isinstance(v, Tensor) for v in tree.values()):
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
        spare: returns whether a tensor that the module lacks may be left out (a classifier, a
            stage that is not read).

    Raises:
        UsageError: a tensor is missing, of another shape, or of another network.
    """
    expected = module.state_dict()
    missing = [
        name
        for name in expected
        if name not in tensors and not name.endswith("num_batches_tracked")
    ]
    foreign = [name for name in tensors if name not in expected and not spare(name)]
    misshapen = [
        name for name in expected if name in tensors and tensors[name].shape != expected[name].shape
    ]

    # The first name of the first kind is enough to see that this is the wrong file.
    for fault, names in (
        ("lacks", missing),
        ("has another shape for", misshapen),
        ("has, from another network,", foreign),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(
                f"{where} {fault} {names[0]!r}{more}.",
                "These are not the weights of this backbone: check the preset.",
            )

    known = {name: value for name, value in tensors.items() if name in expected}
    module.load_state_dict(known, strict=False)


def no_weights(what: str, option: str, error: BaseException) -> NoWeightsError:
    """Return the error of a machine that has neither a network connection nor a file.

    Args:
        what: names the backbone.
        option: the flag that takes a file.
        error: the reason, whose first line is quoted.
    """
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    return NoWeightsError(
        f"The pretrained weights of {what} could not be downloaded ({reason}).",
        f"Give a file with {option} FILE, or {option} random to start without.",
    )


def starts_with_any(prefixes: Iterable[str]) -> Callable[[str], bool]:
    """Return a predicate for names that start with one of `prefixes`."""
    chosen = tuple(prefixes)
    return lambda name: name.startswith(chosen)
