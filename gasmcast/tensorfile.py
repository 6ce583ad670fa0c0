"""Tensors and text in one safetensors file that is whole or not there, with a digest that tells a torn one."""

from __future__ import annotations

import errno
import hashlib
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gasmcast.errors import MachineError
from gasmcast.files import atomic_path

__all__ = ["TornFileError", "is_full", "read_metadata", "read_tensors", "write_tensors"]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNREADABLE = (
    OSError,
    SafetensorError,
    RuntimeError,
)  # the last is torch's, of a file that it cannot map


class TornFileError(MachineError):
    """The file is cut short, altered, or not a file of tensors."""


def _digest(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(f"{name}={texts[name]}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def is_full(error: OSError | SafetensorError) -> bool:
    """Whether an error means that there is no space left: on the disk, in the quota, or for so large a file."""
    code = error.errno if isinstance(error, OSError) else None
    found = re.search(r"os error (\d+)", str(error))
    return code in FULL or bool(found and int(found[1]) in FULL)


def write_tensors(path: Path, tensors: dict[str, Tensor], texts: dict[str, str]) -> None:
    """Write tensors and texts under a temporary name, flush to the disk, then rename.

    Raises:
        MachineError: no space left; what `path` held before is untouched.
    """
    own: dict[str, Tensor] = {}
    written: set[int] = set()
    for name, tensor in tensors.items():
        ready = tensor.detach().cpu().contiguous()
        storage = ready.untyped_storage()
        # The format wants memory of its own for each: a view is copied, and so is a weight that goes by two names.
        own[name] = (
            ready.clone()
            if storage.nbytes() != ready.nbytes or storage.data_ptr() in written
            else ready
        )
        written.add(storage.data_ptr())
    try:
        with atomic_path(path) as draft:
            save_file(own, draft, {**texts, "digest": _digest(own, texts)})
            draft.chmod(0o644)  # safetensors makes files that only their owner reads
    except (OSError, SafetensorError) as error:
        if is_full(error):
            raise MachineError(
                f"No space left for {path}: it was not written, what was there before is untouched.",
                "Free some space and start again; train goes on with --resume.",
            ) from None
        raise


def read_metadata(path: Path) -> dict[str, str]:
    """The texts of a file, without reading its tensors.

    Raises:
        TornFileError: not a whole safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            return dict(stream.metadata() or {})
    except UNREADABLE as error:
        raise TornFileError(
            f"{path} is not a whole file of tensors ({error}).", "Use an earlier checkpoint."
        ) from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and texts of a file, compared with its digest.

    Raises:
        TornFileError: cut short, or altered since it was written.
    """
    texts = read_metadata(path)
    digest = texts.pop("digest", "")
    try:
        with safe_open(path, framework="pt") as stream:
            # Cloned, so that the file is no longer mapped: a run overwrites the very file that it resumed from.
            tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118  # not a mapping
    except UNREADABLE as error:
        raise TornFileError(
            f"{path} is not a whole file of tensors ({error}).", "Use an earlier checkpoint."
        ) from None
    if digest != _digest(tensors, texts):
        raise TornFileError(
            f"{path} is not what was written (digest).", "Use an earlier checkpoint."
        )
    return tensors, texts
