"""Load backbone weights from local files strictly, and refuse unfit ones in one sentence."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
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
# What downloads hold that did not give the file itself, by their first bytes.
_WEB_PAGE = "it is a web page, not the file: download it again"
_NO_WEIGHTS = {
    b"version https://git-lfs": "it is a pointer of Git LFS, not the file: run `git lfs pull`",
    b"<!doctype": _WEB_PAGE,
    b"<html": _WEB_PAGE,
    b"<?xml": _WEB_PAGE,
}


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
    _check_download(path)
    try:
        if path.suffix == ".safetensors":
            tree = load_file(path)
        else:
            # torch warns of pickles that it then refuses.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = torch.load(path, map_location="cpu", weights_only=True)

    # torch quotes its switch that would run the file's code: never repeat that advice.
    except pickle.UnpicklingError:
        raise _unfit(path, "it holds other objects than tensors, which may run code") from None
    except Exception as error:  # noqa: BLE001 - a damaged file raises nearly anything
        raise _unfit(path, _first_line(error)) from None

    # Wrappers may be nested: {"model": {"state_dict": ...}}.
    for wrapper in WRAPPERS:
        if isinstance(tree, Mapping) and isinstance(tree.get(wrapper), Mapping):
            tree = tree[wrapper]

    if not isinstance(tree, Mapping) or not all(isinstance(v, Tensor) for v in tree.values()):
        raise _unfit(path, "it holds something else than named tensors")
    return {str(name).removeprefix("module."): value for name, value in tree.items()}


def _check_download(path: Path) -> None:
    """Check that a file is not empty and not the answer of a server in place of the file.

    Raises:
        UsageError: it is.
    """
    with path.open("rb") as file:
        first = file.read(64).lstrip().lower()
    if not path.stat().st_size:
        raise _unfit(path, "it is empty: a download that broke off")
    for start, reason in _NO_WEIGHTS.items():
        if first.startswith(start):
            raise _unfit(path, reason)


def _unfit(path: Path, reason: str) -> UsageError:
    """Return the error of a file that holds no weights."""
    return UsageError(
        f"{path} is not a file of weights ({reason}).",
        "Give a .safetensors or .pth file of named tensors.",
    )


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


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
    reason = _first_line(error)
    return NoWeightsError(
        f"The pretrained weights of {what} could not be downloaded ({reason}).",
        f"Give a file with {option} FILE, or {option} random to start without.",
    )


def starts_with_any(prefixes: Iterable[str]) -> Callable[[str], bool]:
    """Return a predicate for names that start with one of `prefixes`."""
    chosen = tuple(prefixes)
    return lambda name: name.startswith(chosen)
