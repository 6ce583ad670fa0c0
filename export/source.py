"""Open what is exported: a checkpoint, or a preset with random weights to try an export."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gasmcast.config import PRESETS, Config, load_config
from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.labels import Labels, ssv2_labels
from gasmcast.manifest import label_problem
from gasmcast.models.model import GasmCast

__all__ = ["ExportSource", "check_label_names", "open_source"]


@dataclass(frozen=True)
class ExportSource:
    """Model in eval mode, and where it comes from."""

    model: GasmCast
    config: Config
    labels: Labels
    sha256: str
    """Digest of the checkpoint, or of preset and seed for random weights."""
    name: str
    random: bool = False
    """The weights are random: the model recognizes nothing."""
    temperature: float | None = None
    """Temperature that `gasmcast eval` has fitted for these weights; None if it has not."""
    run: Path | None = None
    """Run folder of the checkpoint; None for random weights."""
    teacher: Mapping[str, int] = field(default_factory=dict)
    """Class that the teacher predicts for each validation clip, by clip id; empty without one."""


def open_source(source: str, random_weights: bool = False, seed: int = 0) -> ExportSource:
    """Open a checkpoint; or, with `random_weights`, an untrained model of a preset or YAML file.

    Args:
        source: run folder, checkpoint, preset or YAML file.
        random_weights: initialize a preset at random instead of reading a checkpoint.
        seed: seed of the random weights.

    Raises:
        UsageError: no such checkpoint, or a preset's name without `random_weights`.
    """
    if random_weights:
        return _random_source(source, seed)

    # A folder may have a preset's name: `make demo` leaves one called demo.
    if source in PRESETS and not Path(source).exists():
        raise UsageError(
            f"{source} is a preset, not a checkpoint.",
            "Train one with `gasmcast train`, or add --random-weights to try the export.",
        )

    from gasmcast.evaluation.teacher_opinion import read_opinion  # noqa: PLC0415 - heavy
    from gasmcast.evaluation.temperature import read_temperature  # noqa: PLC0415 - heavy
    from gasmcast.models.checkpoint import load_checkpoint  # noqa: PLC0415 - heavy

    model, config, labels, info = load_checkpoint(Path(source))
    path = Path(info["path"])
    digest = sha256_of(path)
    return ExportSource(
        model=model,
        config=config,
        labels=labels,
        sha256=digest,
        name=str(path),
        temperature=read_temperature(path, digest),
        run=path.parent,
        teacher=read_opinion(path.parent),
    )


def check_label_names(labels: Labels) -> None:
    """Refuse class names that no bundle may hold, before minutes of work.

    Raises:
        UsageError: the first such name.
    """
    for name in labels.names:
        if problem := label_problem(name):
            raise UsageError(
                f"The checkpoint cannot be exported: {problem}.",
                "Rename the class in labels.json and train again.",
            )


def _random_source(source: str, seed: int) -> ExportSource:
    import torch  # noqa: PLC0415 - heavy

    from gasmcast.models.model import build_model  # noqa: PLC0415 - heavy

    config = load_config(
        source, {"model.semantic_weights": "random", "model.motion_weights": "random"}
    )

    # The same seed gives the same weights, which the digest below relies on.
    torch.manual_seed(seed)
    model = _fill_zero_branches(build_model(config)).eval()

    # A preset with the classes of Something-Something-V2 keeps their names, for readable reports.
    labels = ssv2_labels()
    classes = config.model.classes
    if classes != len(labels):
        labels = Labels(f"class {i}" for i in range(classes))

    digest = hashlib.sha256(f"random {seed} {config.model_dump_json()}".encode()).hexdigest()
    return ExportSource(
        model=model,
        config=config,
        labels=labels,
        sha256=digest,
        name=f"{source} with random weights",
        random=True,
    )


def _fill_zero_branches(model: GasmCast) -> GasmCast:
    """Draw weights for branches that start at zero, whose defects would stay hidden."""
    import torch  # noqa: PLC0415 - heavy

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.5 * parameter[0].numel() ** -0.5)
    return model
