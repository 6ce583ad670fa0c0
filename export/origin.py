"""What is exported: a checkpoint, or a preset with random weights for trying the machinery at true size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gasmcast.config import PRESETS, Config, load_config
from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.labels import Labels, ssv2_labels
from gasmcast.models.model import GasmCast

__all__ = ["Origin", "open_origin"]


@dataclass(frozen=True)
class Origin:
    """A model in eval mode and where it comes from."""

    model: GasmCast
    config: Config
    labels: Labels
    sha256: str
    name: str
    random: bool = False
    temperature: float | None = None
    """Fitted by `gasmcast eval` for these very weights; None where none was."""


def open_origin(source: str, random_weights: bool = False, seed: int = 0) -> Origin:
    """A checkpoint's model; or, with `random_weights`, an untrained one of a preset or YAML file.

    Raises:
        UsageError: no such checkpoint, or a preset's name without `random_weights`.
    """
    import torch  # noqa: PLC0415 - heavy

    from gasmcast.models.model import build_model  # noqa: PLC0415 - heavy

    if random_weights:
        config = load_config(
            source, {"model.semantic_weights": "random", "model.motion_weights": "random"}
        )
        torch.manual_seed(seed)
        model = _awake(build_model(config)).eval()
        classes = config.model.classes
        labels = (
            ssv2_labels()
            if classes == len(ssv2_labels())
            else Labels(f"class {i}" for i in range(classes))
        )
        digest = hashlib.sha256(f"random {seed} {config.model_dump_json()}".encode()).hexdigest()
        return Origin(model, config, labels, digest, f"{source} with random weights", True)
    if source in PRESETS and not Path(source).exists():
        raise UsageError(
            f"{source} is a preset, not a checkpoint.",
            "Train one with `gasmcast train`, or add --random-weights to try the export.",
        )
    from gasmcast.evaluation.temperature import read_temperature  # noqa: PLC0415 - heavy
    from gasmcast.models.checkpoint import load_checkpoint  # noqa: PLC0415 - heavy

    model, config, labels, info = load_checkpoint(Path(source))
    path = Path(info["path"])
    digest = sha256_of(path)
    return Origin(
        model, config, labels, digest, str(path), temperature=read_temperature(path, digest)
    )


def _awake(model: GasmCast) -> GasmCast:
    """Give branches that start at zero some weight: a residual branch that adds nothing would hide its defects."""
    import torch  # noqa: PLC0415 - heavy

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.5 * parameter[0].numel() ** -0.5)
    return model
