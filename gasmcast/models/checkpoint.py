"""Write and read checkpoints: trained weights with the configuration, frozen backbones once beside.

A run folder has `best.safetensors`, `last.safetensors` and, where backbones are frozen,
`frozen.safetensors`. Nothing is pickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gasmcast.config import Config, parse_config
from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.labels import Labels
from gasmcast.models.model import GasmCast, build_model
from gasmcast.tensorfile import read_metadata, read_tensors, write_tensors

__all__ = [
    "build_or_reload",
    "checkpoint_path",
    "frozen_names",
    "load_checkpoint",
    "read_checkpoint",
    "write_checkpoint",
    "write_frozen",
]

FORMAT = "gasmcast checkpoint 1"
FROZEN = "frozen.safetensors"


def frozen_names(model: nn.Module) -> set[str]:
    """Return the names in the state dict that belong to frozen backbones.

    These are the parameters that do not train, and the buffers of their modules. A buffer is frozen
    when a module around it has parameters and none of them trains.
    """
    names: set[str] = set()
    for prefix, module in model.named_modules():
        parameters = list(module.parameters())
        if prefix and parameters and not any(p.requires_grad for p in parameters):
            names.update(f"{prefix}.{name}" for name in module.state_dict())
    return names


def write_frozen(folder: Path, model: nn.Module) -> str:
    """Write `frozen.safetensors` unless the folder already has the same one.

    Returns:
        Its SHA-256; empty when nothing is frozen.

    Raises:
        MachineError: no space left.
        UsageError: the folder has other frozen weights already.
    """
    names = frozen_names(model)
    if not names:
        return ""

    path = folder / FROZEN
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name in names}
    if not path.exists():
        write_tensors(path, tensors, {"format": FORMAT})
        return sha256_of(path)

    # A resumed run must meet the very weights that its checkpoints were trained with.
    stored, _ = read_tensors(path)
    if stored.keys() != tensors.keys() or any(
        not stored[name].equal(tensor.cpu()) for name, tensor in tensors.items()
    ):
        raise UsageError(
            f"{path} holds other backbone weights than this run's.",
            "Give the same weights, or another --out.",
        )
    return sha256_of(path)


def build_or_reload(config: Config, folder: Path) -> GasmCast:
    """Build a model for training, with frozen backbones from the run folder if it has them.

    The files that they were first loaded from may no longer exist when a run is resumed.

    Raises:
        MachineError: the pretrained weights of a new run can be neither downloaded nor found.
        UsageError: the weights do not fit, in a file or in the folder.
    """
    path = folder / FROZEN
    if not path.is_file():
        return build_model(config)

    # The weights in the folder are the run's, whatever the configuration's file holds by now.
    model = _build_bare(config)
    frozen, _ = read_tensors(path)
    if frozen.keys() != frozen_names(model):
        raise UsageError(
            f"{path} is of another architecture.",
            "Use the configuration that the run was started with, or give another --out.",
        )
    fill(model, model.state_dict() | frozen, str(path))
    return model


def write_checkpoint(
    path: Path,
    tensors: dict[str, Tensor],
    config: Config,
    labels: Labels,
    *,
    frozen: str,
    info: dict[str, Any],
) -> None:
    """Write the trained tensors: parameters, and the buffers of modules that are not frozen.

    Args:
        path: `best.safetensors` or `last.safetensors`.
        tensors: by their name in the model.
        config: the whole configuration.
        labels: class names in their order.
        frozen: SHA-256 of `frozen.safetensors` in the same folder, or empty.
        info: completed epochs (validation included), step, metrics, versions, as JSON types.

    Raises:
        MachineError: no space left.
    """
    texts = {
        "format": FORMAT,
        "config": config.model_dump_json(),
        "labels": json.dumps(labels.names),
        "frozen_sha256": frozen,
        "info": json.dumps(info),
    }
    write_tensors(path, tensors, texts)


def checkpoint_path(path: Path) -> Path:
    """Return the file of a checkpoint; of a run folder its best one, else its last.

    Raises:
        UsageError: there is none.
    """
    if path.is_file():
        return path
    for name in ("best.safetensors", "last.safetensors"):
        if (path / name).is_file():
            return path / name
    raise UsageError(
        f"No checkpoint at {path}.",
        "Give a run folder of `gasmcast train`, or its best.safetensors.",
    )


def read_checkpoint(path: Path) -> tuple[Config, Labels, dict[str, Any]]:
    """Read the metadata of a checkpoint without its weights.

    Returns:
        Configuration, labels, and info with `epoch`, `step`, `metrics`, `frozen_sha256`, `path`.

    Raises:
        UsageError: the file is no checkpoint of this program, or of another version of it.
    """
    file = checkpoint_path(path)
    texts = read_metadata(file)
    if texts.get("format") != FORMAT or "config" not in texts:
        raise UsageError(
            f"{file} is not a checkpoint of this gasmcast.",
            "Give best.safetensors or last.safetensors of a run folder.",
        )

    # The configuration is validated again: the file may be of an older version.
    config = parse_config(json.loads(texts["config"]), str(file))
    info = json.loads(texts["info"])
    info |= {"frozen_sha256": texts["frozen_sha256"], "path": str(file)}
    return config, Labels(json.loads(texts["labels"])), info


def load_checkpoint(path: Path) -> tuple[GasmCast, Config, Labels, dict[str, Any]]:
    """Load the model of a checkpoint in eval mode on the CPU, without any download.

    Args:
        path: a run folder, or a checkpoint in one.

    Returns:
        The model, and what `read_checkpoint` returns.

    Raises:
        UsageError: the file is no checkpoint, damaged, or of another architecture; or its frozen
            weights are missing or differ.
    """
    config, labels, info = read_checkpoint(path)
    file = Path(info["path"])
    tensors, _ = read_tensors(file)

    # Frozen backbones are stored once per run folder, not in every checkpoint.
    if info["frozen_sha256"]:
        tensors |= _read_frozen(file, info["frozen_sha256"])

    model = _build_bare(config)
    fill(model, tensors, str(file))
    return model.eval(), config, labels, info


def fill(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Load tensors into a model: every name must be there, with the right shape.

    Args:
        model: takes the tensors.
        tensors: by their name in the model.
        where: names the origin in errors.

    Raises:
        UsageError: the tensors are of another architecture; the first that differs is named.
    """
    expected = model.state_dict()
    hint = "Use it with the configuration it was trained with."
    for name, tensor in expected.items():
        if name not in tensors:
            raise UsageError(f"{where} is of another architecture: it lacks {name}.", hint)
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            raise UsageError(f"{where} is of another architecture: {name} is {shapes}.", hint)

    # A surplus tensor means another variant, even if everything else fits.
    extra = sorted(tensors.keys() - expected.keys())
    if extra:
        raise UsageError(
            f"{where} is of another architecture: it has {extra[0]}, which the model has not.", hint
        )
    model.load_state_dict(tensors)


def _build_bare(config: Config) -> GasmCast:
    """Build the architecture without downloading weights that a file will overwrite."""
    bare = config.model.model_copy(
        update={"semantic_weights": "random", "motion_weights": "random"}
    )
    return GasmCast(bare, config.spec)


def _read_frozen(checkpoint: Path, sha256: str) -> dict[str, Tensor]:
    """Read the frozen weights beside a checkpoint and compare them with its checksum."""
    frozen = checkpoint.with_name(FROZEN)
    if not frozen.is_file():
        raise UsageError(f"{checkpoint} needs {FROZEN} beside it.", "Copy the whole run folder.")
    if sha256_of(frozen) != sha256:
        raise UsageError(
            f"{frozen} is not the one {checkpoint.name} was trained with (checksum).",
            "Copy the whole run folder again.",
        )
    return read_tensors(frozen)[0]
