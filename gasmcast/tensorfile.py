"""Store tensors and texts in one safetensors file, written whole or not at all.

A digest inside reveals a damaged file.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gasmcast.errors import MachineError
from gasmcast.files import atomic_path

__all__ = ["TornFileError", "digest", "is_full", "read_metadata", "read_tensors", "write_tensors"]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# RuntimeError is torch's, for a file that it cannot map.
UNREADABLE = (OSError, SafetensorError, RuntimeError)


class TornFileError(MachineError):
    """The file is cut short, altered, or not a file of tensors."""


def digest(tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None) -> str:
    """Return the SHA-256 of named tensors and texts, whatever their order, device or strides."""
    total = hashlib.sha256()
    for name, text in sorted((texts or {}).items()):
        total.update(f"{name}={text}\n".encode())

    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def is_full(error: OSError | SafetensorError) -> bool:
    """Return whether an error means that there is no space left.

    That is a full disk, an exhausted quota, or a file that is too large for the file system.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    # safetensors reports the number only in its text.
    number = re.search(r"os error (\d+)", str(error))
    return number is not None and int(number[1]) in FULL


def write_tensors(path: Path, tensors: dict[str, Tensor], texts: dict[str, str]) -> None:
    """Write tensors and texts under a temporary name, flush to the disk, then rename.

    Args:
        path: the file.
        tensors: by name; on any device.
        texts: metadata.

    Raises:
        MachineError: no space left; the previous content of `path` is untouched.
    """
    separate = _separate_storages(tensors)
    try:
        with atomic_path(path) as draft:
            save_file(separate, draft, {**texts, "digest": digest(separate, texts)})
            draft.chmod(0o644)  # safetensors creates files that only their owner can read
    except (OSError, SafetensorError) as error:
        # Any other error than a full disk is a defect and keeps its traceback.
        if is_full(error):
            raise MachineError(
                f"No space left for {path}: it was not written, what was there before is"
                " untouched.",
                "Free some space and start again; train goes on with --resume.",
            ) from None
        raise


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts of a file without its tensors.

    Raises:
        TornFileError: the file is not a complete safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except UNREADABLE as error:
        raise _not_whole(path, error) from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and texts of a file, and compare them with its digest.

    Raises:
        TornFileError: the file is cut short, or altered since it was written.
    """
    texts = read_metadata(path)
    stored = texts.pop("digest", "")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            # Cloned, so that the file is not mapped: a run overwrites the file it resumed from.
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except UNREADABLE as error:
        raise _not_whole(path, error) from None

    if stored != digest(tensors, texts):
        raise TornFileError(
            f"{path} is not what was written (digest).", "Use an earlier checkpoint."
        )
    return tensors, texts


def _separate_storages(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous CPU tensors that share no memory, as safetensors requires.

    Views are copied, and so is a weight that has two names.
    """
    separate: dict[str, Tensor] = {}
    used: set[int] = set()
    for name, tensor in tensors.items():
        ready = tensor.detach().cpu().contiguous()
        storage = ready.untyped_storage()
        is_view = storage.nbytes() != ready.nbytes
        separate[name] = ready.clone() if is_view or storage.data_ptr() in used else ready
        used.add(storage.data_ptr())
    return separate


def _not_whole(path: Path, error: BaseException) -> TornFileError:
    """Return the error of a file that cannot be read."""
    return TornFileError(
        f"{path} is not a whole file of tensors ({error}).", "Use an earlier checkpoint."
    )
