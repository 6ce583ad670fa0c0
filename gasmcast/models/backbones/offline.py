"""Prepare the backbone weights of a preset in a folder, for machines without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gasmcast.config import Config
from gasmcast.errors import MachineError, UsageError
from gasmcast.files import read_json, sha256_of, write_atomic
from gasmcast.models.backbones.download import ChecksumError, DownloadError
from gasmcast.models.backbones.pretrained import copy_cached, fetch
from gasmcast.models.backbones.published import (
    PublishedWeights,
    cached_motion,
    cached_semantic,
    publish_motion,
    publish_semantic,
)
from gasmcast.models.backbones.vit import SEMANTIC_NAMES

__all__ = ["PreparedWeights", "prepare_weights"]

INDEX = "weights.json"
"""File of a prepared folder that states origin, license and checksum of each file of weights."""
UNPUBLISHED = {
    "i3d": "Download the checkpoint of deepmind/kinetics-i3d or its PyTorch port, then: "
    "gasmcast weights convert CHECKPOINT i3d_k400.safetensors",
    "c3d": "Give a file with --motion-weights, or take another model.motion_backbone.",
}


@dataclass(frozen=True)
class PreparedWeights:
    """Weights of one stream on this machine."""

    option: str
    """Flag of `gasmcast train` that takes the file."""
    path: Path
    """The file."""


@dataclass(frozen=True)
class _Stream:
    """Backbone of a stream, with the functions that describe and find its weights."""

    option: str
    backbone: str
    publish: Callable[[str], PublishedWeights]
    cached: Callable[[str], Path | None]


def prepare_weights(
    config: Config, folder: Path, report: Callable[[str], None]
) -> list[PreparedWeights]:
    """Fetch the pretrained weights that a configuration needs; what is there already is kept.

    The folder gets `weights.json` with address, license and SHA-256 of each file. A second call
    verifies the files by it and needs no network.

    Args:
        config: its backbones and which of them are `pretrained` count.
        folder: where the files go; a download that broke off there continues.
        report: receives lines about what happens.

    Returns:
        One entry per stream with pretrained weights.

    Raises:
        UsageError: nobody publishes weights of a backbone.
        MachineError: a file can be neither downloaded nor found, or is not the published one.
    """
    index = folder / INDEX
    known: dict[str, Any] = read_json(index, dict) if index.is_file() else {}

    # The index is written after each file, so that a break in the second keeps the first.
    prepared = []
    for stream in _streams(config):
        path = _intact(folder, known, stream.backbone)
        if path is not None:
            report(f"{path} is complete.")
        else:
            weights, path = _get(stream, folder, report)
            # The published checksum may be a prefix: keep the whole one.
            entry = asdict(weights) | {"sha256": sha256_of(path), "size": path.stat().st_size}
            known[stream.backbone] = entry
            write_atomic(index, json.dumps(known, indent=1) + "\n")
        prepared.append(PreparedWeights(stream.option, path))
    return prepared


def _streams(config: Config) -> list[_Stream]:
    """Return the streams whose backbones are pretrained."""
    model = config.model
    streams = []

    # Random weights and files of the user need no download.
    if model.streams != "motion" and model.semantic_weights == "pretrained":
        name = SEMANTIC_NAMES.get(model.semantic_backbone, model.semantic_backbone)
        streams.append(_Stream("--semantic-weights", name, publish_semantic, cached_semantic))

    # Some motion backbones have no public file in a usable form.
    if model.streams != "semantic" and model.motion_weights == "pretrained":
        name = model.motion_backbone
        if name in UNPUBLISHED:
            raise UsageError(
                f"Nobody publishes weights of {name} that gasmcast can download.",
                UNPUBLISHED[name],
            )
        streams.append(_Stream("--motion-weights", name, publish_motion, cached_motion))
    return streams


def _intact(folder: Path, known: dict[str, Any], backbone: str) -> Path | None:
    """Return the prepared file of a backbone, or None if it is absent or altered."""
    entry = known.get(backbone)
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        return None

    # The index may come from elsewhere: only a file of this folder counts.
    path = folder / Path(entry["file"]).name
    if path.is_file() and sha256_of(path) == entry.get("sha256"):
        return path
    path.unlink(missing_ok=True)
    return None


def _get(
    stream: _Stream, folder: Path, report: Callable[[str], None]
) -> tuple[PublishedWeights, Path]:
    """Copy or download the weights of a stream."""
    try:
        weights = stream.publish(stream.backbone)
        target = folder / weights.file
        # A file of an earlier call that the index does not know was never verified.
        if target.is_file() and not sha256_of(target).startswith(weights.sha256):
            target.unlink()

        # What an earlier training downloaded need not be downloaded again.
        cached = stream.cached(stream.backbone)
        copy = None
        if not target.is_file() and cached is not None:
            copy = copy_cached(weights, cached, folder)
        if copy is not None:
            report(f"Copied {cached} to {copy}. License: {weights.license} ({weights.page})")
            return weights, copy

        return weights, fetch(weights, folder, report)
    except ChecksumError as error:
        raise MachineError(
            f"The downloaded weights of {stream.backbone} were refused: {error}.",
            "Try again; behind a proxy, check what it does to downloads.",
        ) from None
    except DownloadError as error:
        raise MachineError(
            f"The weights of {stream.backbone} could not be downloaded ({error}).",
            f"Repeat the command with a network; what {folder} has of them already is kept.",
        ) from None
