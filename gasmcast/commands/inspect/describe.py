"""Describe a preset, a checkpoint or a bundle as one record; a bundle needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gasmcast.config import PRESETS, Config, ModelConfig, load_config
from gasmcast.errors import MachineError
from gasmcast.files import sha256_of
from gasmcast.manifest import read_manifest
from gasmcast.missing import install_hint
from gasmcast.models.shape import HeadShape
from gasmcast.spec import ClipSpec

__all__ = ["describe", "shapes"]


def describe(target: str) -> dict[str, Any]:
    """Return kind, sizes, timing, shapes, labels, precisions and checksums of a model.

    Args:
        target: a preset's name, a YAML file, a checkpoint, a run folder, or a bundle.

    Raises:
        UsageError: the target does not exist, or is damaged.
        MachineError: torch is needed and not installed.
    """
    path = Path(target)
    if target in PRESETS or path.suffix in (".yaml", ".yml"):
        config = load_config(target)
        record = _record("preset", target, config, _count(config))
        record["timing"]["fitted"] = config.train.fit_window
        return record
    if (path / "manifest.json").is_file() or path.suffix == ".gasm":
        return _bundle(path)
    return _checkpoint(path)


def shapes(model: ModelConfig, spec: ClipSpec) -> dict[str, list[int]]:
    """Return the shapes of inputs, encoded segments and logits, without the batch.

    A stream that the model does not have is listed with 0 tokens.
    """
    shape = HeadShape.of(model, spec)
    layers, width = model.layers, model.width
    patches = shape.patches if model.streams != "motion" else 0
    cells = shape.motion_tokens if model.streams != "semantic" else 0
    return {
        "clip": list(spec.clip_shape),
        "segments": list(spec.pair_shape),
        "semantic": [shape.segments, layers, spec.semantic_frames, patches, width],
        "motion": [shape.segments, layers, cells, width],
        "logits": [model.classes],
    }


def _timing(spec: ClipSpec) -> dict[str, Any]:
    """Return what a user of the model must know about time, in seconds and frames per second."""
    return {
        "window_s": round(spec.window_s, 3),
        "segment_s": spec.segment_s,
        "fps": round(spec.fps, 3),
        "fitted": False,
    }


def _bundle(path: Path) -> dict[str, Any]:
    manifest = read_manifest(path)
    config = Config(spec=manifest.spec, model=ModelConfig.model_validate(manifest.model))
    # Not every file of a bundle is a graph.
    precisions, graphs = {}, {}
    for name, measured in manifest.precisions.items():
        precisions[name] = measured.model_dump()
    checksums = {"checkpoint": manifest.checkpoint_sha256}
    for name, file in manifest.files.items():
        checksums[name] = file.sha256
        if file.graph:
            graphs[name] = [file.graph, file.precision, file.size]

    return _record("bundle", str(path), config, manifest.counts) | {
        "labels": list(manifest.labels),
        "precisions": precisions,
        "graphs": graphs,
        "checksums": checksums,
        "created": manifest.created,
        "gasmcast": manifest.gasmcast,
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        from gasmcast.models.checkpoint import checkpoint_path, read_checkpoint
    except ImportError as error:
        raise _no_torch(error) from None
    config, labels, info = read_checkpoint(path)
    file = checkpoint_path(path)

    # Frozen weights are stored once for several checkpoints, so their checksum is listed too.
    checksums = {file.name: sha256_of(file)}
    if info.get("frozen_sha256"):
        checksums["frozen.safetensors"] = info["frozen_sha256"]
    return _record("checkpoint", str(file), config, _count(config)) | {
        "labels": list(labels.names),
        "checksums": checksums,
        "info": {key: value for key, value in info.items() if key not in ("path", "frozen_sha256")},
    }


def _record(kind: str, name: str, config: Config, counts: dict[str, Any] | None) -> dict[str, Any]:
    counts = counts or {"parameters": None, "macs": None, "cross_attention_ratio": None}
    return {
        "kind": kind,
        "name": name,
        **counts,
        "shapes": shapes(config.model, config.spec),
        "timing": _timing(config.spec),
        "spec": config.spec.model_dump(),
        "model": config.model.model_dump(mode="json"),
        "labels": None,
        "precisions": {},
        "checksums": {},
    }


def _count(config: Config) -> dict[str, Any]:
    try:
        from gasmcast.models.counts import count
    except ImportError as error:
        raise _no_torch(error) from None
    return count(config).to_json()


def _no_torch(error: ImportError) -> MachineError:
    return MachineError(
        f"Counting a preset or checkpoint needs {error.name}.",
        f"{install_hint('export')}; a bundle can be inspected without.",
    )
